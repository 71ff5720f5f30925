"""``[workload.NAME]``: which manifests are which workload.

The host that launches a Keep also writes its manifest, so everything in it that can change what the workload does has
to be named here: not only the module, but its configuration, arguments, variables and files. What is not named must be
absent from the manifest; ``"any"`` waives it in so many words. Ports, endpoints and limits can only narrow what
Enarx.toml says and are free.

A workload may be named by who signs its packages (``signed_by``) instead of by digest, or besides. Of several, the one
that says most is meant: by whole manifests, else by digest, else by signers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from enarx.evidence.appraisal import Rule, judge
from enarx.manifest import Manifest
from enarx.tenant.policytables import Tables
from enarx.tenant.signature.bundle import Identity
from enarx.tenant.signature.rules import HINT, judge_signers, reason, seen
from enarx.tenant.signature.settings import Read, read_signers
from enarx.tenant.signature.signers import Presented, Signer, Signers, Verdict
from enarx.tenant.signature.statement import Statement
from enarx.toml_document import Document

ANY: Final = "any"
SIGNERS_MAX: Final = 64
"""Signers of all workloads that are named by signers alone (count): each may be tried for each signature."""
_KEYS: Final = ("manifest", "digest", "signed_by", "threshold", "config", "files", "args", "env")


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload that is accepted under ``name``. None means any; digests are written ``sha256:...``.

    ``manifests`` alone, when given, names whole manifests and nothing else is compared. ``signers`` without digests
    name every package that they sign; with digests, both have to hold.
    """

    name: str
    manifests: frozenset[str] = frozenset()
    digests: frozenset[str] | None = frozenset()
    configs: frozenset[str] | None = frozenset()
    files: frozenset[str] | None = frozenset()
    args: tuple[str, ...] | None = ()
    env: tuple[tuple[str, str], ...] | None = ()
    signers: Signers | None = None

    @property
    def is_by_signers_alone(self) -> bool:
        """Whether only signatures say which packages this workload is."""
        return self.signers is not None and self.digests == frozenset()

    @property
    def who_may_sign(self) -> tuple[Signer, ...]:
        """The signers, none when nobody has to sign."""
        return self.signers.accepted if self.signers is not None else ()

    def is_meant_by(self, manifest: Manifest) -> bool:
        """Whether this is the entry that ``manifest`` has to satisfy, by its whole digest or by that of its module."""
        if self.manifests:
            return written(manifest.digest()) in self.manifests
        return self.digests is None or manifest.workload.digest in self.digests


def written(digest: bytes) -> str:
    """A SHA-256 as manifests and policies write it."""
    return f"sha256:{digest.hex()}"


def read_workloads(reader: Tables, tables: Mapping[str, Any], read: Read) -> tuple[Workload, ...]:
    """The workloads of a policy file; ``read`` fetches the keys that it names. Raises ConfigError."""
    found = tuple(_workload(reader, name, table, read) for name, table in tables.items())
    _check_distinct(reader.document, found)
    _check_signers_distinct(reader.document, found)
    return found


def _workload(reader: Tables, name: str, table: Any, read: Read) -> Workload:
    path = ("workload", name)
    stated = reader.only_keys(path, table, _KEYS)
    reader.name(path, name)
    named = "digest" in stated or "signed_by" in stated
    if ("manifest" in stated) is named or ("manifest" in stated and len(stated) > 1):
        hint = 'digest = ["sha256:..."] (or "any"), signed_by = ["KEY.pub"], or manifest = ["sha256:..."] alone'
        what = f"[workload.{name}] must name either modules or packages, or whole manifests"
        raise reader.document.error(path, "policy-value", what, hint)
    if "signed_by" in stated and stated.get("digest") == ANY:
        what, hint = f"[workload.{name}] is signed and of any digest", "leave digest out: the signers say which"
        raise reader.document.error((*path, "digest"), "policy-contradiction", what, hint)
    if "manifest" in stated:
        return Workload(name, manifests=_digests(reader, (*path, "manifest"), stated["manifest"]))

    def digests(key: str) -> frozenset[str] | None:
        if key not in stated:
            return frozenset()
        return None if stated[key] == ANY else _digests(reader, (*path, key), stated[key])

    return Workload(
        name,
        digests=digests("digest"),
        configs=digests("config"),
        files=digests("files"),
        args=_args(reader, (*path, "args"), stated.get("args", [])),
        env=_env(reader, (*path, "env"), stated.get("env", {})),
        signers=read_signers(reader, path, stated, read),
    )


def _digests(reader: Tables, path: tuple[str, ...], value: Any) -> frozenset[str]:
    return frozenset(written(one) for one in reader.digests(path, value))


def _args(reader: Tables, path: tuple[str, ...], value: Any) -> tuple[str, ...] | None:
    if value == ANY:
        return None
    if value == []:
        return ()
    return tuple(reader.text((*path, i), one) for i, one in enumerate(reader.listing(path, value)))


def _env(reader: Tables, path: tuple[str, ...], value: Any) -> tuple[tuple[str, str], ...] | None:
    if value == ANY:
        return None
    if not isinstance(value, dict):
        raise reader.document.type_error(path, 'a table of names and values, or "any"', value)
    return tuple(sorted((name, reader.text((*path, name), one)) for name, one in value.items()))


def _check_distinct(document: Document, workloads: tuple[Workload, ...]) -> None:
    """A manifest must not be two workloads at once: what it is given would depend on the order in the file."""
    known: dict[str, str] = {}
    for one in workloads:
        if one.digests is None and len(workloads) > 1:
            what = f"[workload.{one.name}] accepts any module beside other workloads"
            hint = "name the digests, or keep only this workload"
            raise document.error(("workload", one.name), "policy-contradiction", what, hint)
        for digest in sorted(one.manifests | (one.digests or frozenset())):
            if digest in known:
                what = f"{digest} is both {known[digest]} and {one.name}"
                raise document.error(("workload", one.name), "policy-contradiction", what, "decide")
            known[digest] = one.name


def _check_signers_distinct(document: Document, workloads: tuple[Workload, ...]) -> None:
    """Nor by its signatures: a signer whose packages would be two workloads says nothing of which one is meant."""
    known: dict[Signer, str] = {}
    for one in workloads:
        for signer in one.who_may_sign if one.is_by_signers_alone else ():
            if signer in known:
                what = f"whatever {signer} signs is both {known[signer]} and {one.name}"
                hint = "name digests, or give each workload signers of its own"
                raise document.error(("workload", one.name, "signed_by"), "policy-contradiction", what, hint)
            known[signer] = one.name
    if len(known) > SIGNERS_MAX:
        what, hint = f"{len(known)} signers name workloads without digests", f"{SIGNERS_MAX} may; name digests"
        raise document.error(("workload",), "policy-value", what, hint)


def who_needs_sigstore(workloads: tuple[Workload, ...]) -> str | None:
    """The name of a workload that a sigstore identity may sign, if there is one."""
    for one in workloads:
        if any(isinstance(signer, Identity) for signer in one.who_may_sign):
            return one.name
    return None


def judge_workload(
    manifest: Manifest, workloads: tuple[Workload, ...], rules: list[Rule], presented: Presented
) -> tuple[Workload | None, tuple[Signer, ...]]:
    """Judge which workload a manifest is, and that it is that workload alone; None when it is none of them.

    Whole manifests are looked for first: they say more than the digest of a module, and that says more than who signed
    it. Also returns those of the workload's signers who signed.
    """
    candidates = sorted(workloads, key=lambda one: not one.manifests)
    found = next((one for one in candidates if one.is_meant_by(manifest)), None)
    by_signers = tuple(one for one in workloads if one.is_by_signers_alone)
    statement = Statement(manifest.workload.digest, manifest.workload.media_type)
    verdict = Verdict(())
    if found is None and by_signers:
        verdict = presented.verdict(statement, [who for one in by_signers for who in one.who_may_sign])
        found = _find_by_signers(manifest, by_signers, presented, verdict, rules)
    else:
        judge(
            rules,
            "workload",
            found is not None,
            f"one of {len(workloads)}: {', '.join(one.name for one in workloads)}" if workloads else "none stated",
            manifest.workload.digest if found is None else f"{found.name}, {manifest.workload.digest}",
            source="policy workload",
            hint="the host launched another module; state its digest under [workload.NAME] if that is meant",
            code="workload-mismatch",
        )
        if found is not None and found.signers is not None:
            verdict = presented.verdict(statement, found.signers.accepted)
    if found is None:
        return None, ()
    if found.signers is not None:
        judge_signers(found.name, found.signers, presented, verdict, rules)
    if not found.manifests:
        _judge_details(manifest, found, rules)
    return found, verdict.of(found.who_may_sign)


def _find_by_signers(
    manifest: Manifest,
    workloads: tuple[Workload, ...],
    presented: Presented,
    verdict: Verdict,
    rules: list[Rule],
) -> Workload | None:
    """The one workload whose signers signed a package that no workload names by digest."""
    if len(workloads) == 1:
        found = [workloads[0]]  # whose own rule says what is amiss
    else:
        found = [one for one in workloads if one.signers and verdict.satisfies(one.signers)]
    names = ", ".join(one.name for one in workloads)
    named = ", ".join(one.name for one in found)
    judge(
        rules,
        "workload",
        len(found) == 1,
        f"a digest that is named, or signed for one of {len(workloads)}: {names}",
        f"{named}, {manifest.workload.digest}" if found else seen(presented, verdict),
        source="policy workload",
        hint="it is signed for more than one workload: name its digest" if found else HINT,
        code="workload-ambiguous" if found else reason(presented, verdict),
    )
    return found[0] if len(found) == 1 else None


def _judge_details(manifest: Manifest, workload: Workload, rules: list[Rule]) -> None:
    where = f"policy workload.{workload.name}"
    hint = "the deployer's command line differs from what the policy names"
    if workload.configs is not None:
        seen = manifest.config
        passed = seen in workload.configs if workload.configs else seen is None
        expected = ", ".join(sorted(workload.configs)) or "no Enarx.toml"
        judge(
            rules,
            "workload-config",
            passed,
            expected,
            seen or "no Enarx.toml",
            source=f"{where}.config",
            hint="another Enarx.toml was deployed; state its digest under config if that is meant",
            code="config-mismatch",
        )
    if workload.files is not None:
        extra = [f"{file.kind} {file.digest}" for file in manifest.files if file.digest not in workload.files]
        judge(
            rules,
            "workload-files",
            not extra,
            f"of {len(workload.files)} named" if workload.files else "no files",
            ", ".join(extra) or f"{len(manifest.files)} named",
            source=f"{where}.files",
            hint="the host hands over files that the policy does not name; state their digests under files",
            code="files-mismatch",
        )
    # What arguments and variables say may be confidential: a refusal goes to the host, so only their number is told.
    if workload.args is not None:
        passed = manifest.args == workload.args
        seen = f"{len(manifest.args)} arguments" + ("" if passed else ", others than these")
        expected = f"{len(workload.args)} arguments"
        judge(rules, "workload-args", passed, expected, seen, source=f"{where}.args", hint=hint, code="args-mismatch")
    if workload.env is not None:
        passed = tuple(sorted(manifest.env)) == workload.env
        seen = f"{len(manifest.env)} variables" + ("" if passed else ", others than these")
        expected = f"{len(workload.env)} variables"
        judge(rules, "workload-env", passed, expected, seen, source=f"{where}.env", hint=hint, code="env-mismatch")
