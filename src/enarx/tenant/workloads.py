"""``[workload.NAME]``: which manifests are which workload.

The host that launches a Keep also writes its manifest, so everything in it that can change what the workload does has
to be named here: not only the module, but its configuration, arguments, variables and files. What is not named must be
absent from the manifest; ``"any"`` waives it in so many words. Ports, endpoints and limits can only narrow what
Enarx.toml says and are free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from enarx.evidence.appraisal import Rule, judge
from enarx.manifest import Manifest
from enarx.tenant.policytables import Tables
from enarx.toml_document import Document

ANY: Final = "any"
_KEYS: Final = ("manifest", "digest", "config", "files", "args", "env")


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload that is accepted under ``name``. None means any; digests are written ``sha256:...``.

    ``manifests`` alone, when given, names whole manifests and nothing else is compared.
    """

    name: str
    manifests: frozenset[str] = frozenset()
    digests: frozenset[str] | None = frozenset()
    configs: frozenset[str] | None = frozenset()
    files: frozenset[str] | None = frozenset()
    args: tuple[str, ...] | None = ()
    env: tuple[tuple[str, str], ...] | None = ()

    def is_meant_by(self, manifest: Manifest) -> bool:
        """Whether this is the entry that ``manifest`` has to satisfy, by its whole digest or by that of its module."""
        if self.manifests:
            return written(manifest.digest()) in self.manifests
        return self.digests is None or manifest.workload.digest in self.digests


def written(digest: bytes) -> str:
    """A SHA-256 as manifests and policies write it."""
    return f"sha256:{digest.hex()}"


def read_workloads(reader: Tables, tables: Mapping[str, Any]) -> tuple[Workload, ...]:
    """The workloads of a policy file; raises ConfigError."""
    found = tuple(_workload(reader, name, table) for name, table in tables.items())
    _check_distinct(reader.document, found)
    return found


def _workload(reader: Tables, name: str, table: Any) -> Workload:
    path = ("workload", name)
    stated = reader.only_keys(path, table, _KEYS)
    reader.name(path, name)
    if ("manifest" in stated) is ("digest" in stated) or ("manifest" in stated and len(stated) > 1):
        hint = 'digest = ["sha256:..."] of the module (or "any"), or manifest = ["sha256:..."] alone'
        what = f"[workload.{name}] must name either modules or whole manifests"
        raise reader.document.error(path, "policy-value", what, hint)
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
    seen: dict[str, str] = {}
    for one in workloads:
        if one.digests is None and len(workloads) > 1:
            what = f"[workload.{one.name}] accepts any module beside other workloads"
            hint = "name the digests, or keep only this workload"
            raise document.error(("workload", one.name), "policy-contradiction", what, hint)
        for digest in sorted(one.manifests | (one.digests or frozenset())):
            if digest in seen:
                what = f"{digest} is both {seen[digest]} and {one.name}"
                raise document.error(("workload", one.name), "policy-contradiction", what, "decide")
            seen[digest] = one.name


def judge_workload(manifest: Manifest, workloads: tuple[Workload, ...], rules: list[Rule]) -> Workload | None:
    """Judge which workload a manifest is, and that it is that workload alone; None when it is none of them.

    Whole manifests are looked for first: they say more than the digest of a module.
    """
    candidates = sorted(workloads, key=lambda one: not one.manifests)
    found = next((one for one in candidates if one.is_meant_by(manifest)), None)
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
    if found is not None and not found.manifests:
        _judge_details(manifest, found, rules)
    return found


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
