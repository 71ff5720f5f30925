"""A bundle: what a Keep showed to a client, and what the client judged it by, in one file; judged again years later.

JSON (RFC 8259) in UTF-8; bytes are base64 (RFC 4648 4). Objects have exactly these keys::

    format        "enarx-bundle/1"
    saved         time at which it was judged: "2026-11-27T16:00:00Z"
    url           "https://HOST:PORT" of the Keep
    certificates  [BYTES]       the chain as it was shown, DER, leaf first; the leaf carries the evidence over its key
    session       {"nonce", "exporter": BYTES, "digests": [BYTES], "evidence": BYTES}: fresh evidence over the session,
                  or null where none was asked for
    endorsements  {"chain": [BYTES], "crls": [BYTES]}    certificates and lists beside those in the evidence, DER
    manifest      BYTES of the launch that was expected, or null
    authority     "sha256:..." of the key of the CA that was trusted, or null
    signatures    [BYTES] of the package
    policy        {"name": TEXT, "text": TEXT, "files": {NAME: BYTES}}: the policy, and the files that it names

A bundle is not signed, and need not be: what is in it proves itself or proves nothing. Only ``saved``, ``url`` and the
session's nonce and exporter are its maker's word. No secret is in it; a policy with secrets is not taken.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from enarx.connect.expectation import PathLike
from enarx.connect.fields import all_encoded, bad, encoded, items, mapping, nullable, octets, text
from enarx.errors import ConfigError, EnarxError, UsageError
from enarx.evidence.binding import NONCE_BYTES, SESSION_DIGEST_BYTES, SESSIONS_MAX
from enarx.evidence.bundle import BUNDLE_MAX_CERTIFICATES
from enarx.evidence.certificate import CRL_MAX_BYTES
from enarx.evidence.signature import PYCA, Verifier
from enarx.evidence.snp.policyfile import POLICY_MAX_BYTES
from enarx.manifest import MAX_BYTES as MANIFEST_MAX_BYTES
from enarx.tenant.authority import authority_bytes
from enarx.tenant.client import Expectation, Verdict, trust_of, verify
from enarx.tenant.freshness import SessionEvidence, verify_session
from enarx.tenant.keepchain import CERTIFICATE_MAX_BYTES, CHAIN_MAX
from enarx.tenant.peer import place
from enarx.tenant.policy import Policy, parse_policy
from enarx.tenant.signature.signers import OBJECT_MAX_BYTES, OBJECTS_MAX
from enarx.tenant.signature.strictjson import loads
from enarx.tenant.steward.files import read, read_policy

FORMAT: Final = "enarx-bundle/1"
BUNDLE_MAX_BYTES: Final = 16 * 1024 * 1024
"""Largest bundle that is read (bytes); an ordinary one has about 30 KiB."""
CRLS_MAX: Final = 16
"""Revocation lists in a bundle (count)."""
EVIDENCE_MAX_BYTES: Final = 128 * 1024
"""Largest fresh evidence (bytes), as in an answer to a challenge."""
POLICY_FILES_MAX: Final = 64
"""Files that a policy may name (count)."""
POLICY_FILE_MAX_BYTES: Final = 1024 * 1024
"""Largest of them (bytes); each kind has a limit of its own that is lower."""
NAME_MAX_CHARS: Final = 1024
"""Longest name of a file, and longest URL (characters)."""

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_WITHHELD: Final = b"\0"
"""In the place of a secret that a policy names by its file: it is not in the bundle, and no judgement needs it."""


@dataclass(frozen=True, slots=True)
class StatedPolicy:
    """A policy file under its name, and the files that it names, without those of secrets."""

    name: str
    text: str
    files: Mapping[str, bytes] = field(default_factory=dict)

    def parsed(self) -> Policy:
        """The policy; ConfigError for what no Steward would load, or when a file is missing."""
        return parse_policy(self.text.encode(), self.name, self._read)

    def _read(self, name: str, limit: int, private: bool) -> bytes:
        if private:
            return _WITHHELD
        found = self.files.get(name)
        if found is None or len(found) > limit:
            raise ConfigError(
                f"the bundle does not have the file {name[:80]!r} that its policy names",
                code="bundle-policy",
                hint="judge it by a policy of your own: --policy FILE",
            )
        return found


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as it was made or read; nothing of it is verified. Its fields are those of the format above."""

    saved: datetime
    url: str
    certificates: tuple[bytes, ...]
    policy: StatedPolicy
    session: SessionEvidence | None = None
    chain: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    manifest: bytes | None = None
    authority: bytes | None = None
    signatures: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """The file; ValueError when it would be longer than one that is read."""
        session = self.session
        plain = {
            "format": FORMAT,
            "saved": f"{self.saved.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "url": self.url,
            "certificates": all_encoded(self.certificates),
            "session": session
            and {
                "nonce": encoded(session.nonce),
                "exporter": encoded(session.exporter),
                "digests": all_encoded(session.digests),
                "evidence": encoded(session.evidence),
            },
            "endorsements": {"chain": all_encoded(self.chain), "crls": all_encoded(self.crls)},
            "manifest": None if self.manifest is None else encoded(self.manifest),
            "authority": None if self.authority is None else f"sha256:{self.authority.hex()}",
            "signatures": all_encoded(self.signatures),
            "policy": {
                "name": self.policy.name,
                "text": self.policy.text,
                "files": {name: encoded(data) for name, data in sorted(self.policy.files.items())},
            },
        }
        data = json.dumps(plain, indent=1).encode() + b"\n"
        if len(data) > BUNDLE_MAX_BYTES:
            raise ValueError(f"a bundle of {len(data)} bytes")
        return data

    def expectation(self, policy: Policy) -> Expectation:
        """What is to be demanded by ``policy`` of what the bundle has."""
        return Expectation(policy, self.manifest, self.authority, self.chain, self.crls, self.signatures)


def read_bundle(data: bytes) -> Bundle:
    """Read a bundle; MalformedError (``bundle``) for anything else, however it was made."""
    if len(data) > BUNDLE_MAX_BYTES:
        raise bad(f"it has more than {BUNDLE_MAX_BYTES} bytes")
    try:
        whole = loads(data)
    except ValueError as error:
        raise bad(f"it is not JSON: {str(error)[:200]}") from error
    top = mapping(whole, "it", tuple(_READERS))
    if top["format"] != FORMAT:
        raise bad(f"its format is {str(top['format'])[:40]!r}, not {FORMAT!r}")
    found = {key: reader(top[key]) for key, reader in _READERS.items() if key not in ("format", "endorsements")}
    endorsements = mapping(top["endorsements"], "endorsements", ("chain", "crls"))
    chain = items(endorsements["chain"], "chain", BUNDLE_MAX_CERTIFICATES, octets(CERTIFICATE_MAX_BYTES))
    return Bundle(**found, chain=chain, crls=items(endorsements["crls"], "crls", CRLS_MAX, octets(CRL_MAX_BYTES)))


def verify_bundle(
    bundle: Bundle | bytes,
    policy: Policy | PathLike | None = None,
    at: datetime | None = None,
    *,
    manifest: bytes | None = None,
    ca: PathLike | bytes | None = None,
    verifier: Verifier = PYCA,
) -> Verdict:
    """Judge what is in ``bundle`` again, without network or clock. Never raises for evidence: read the verdict.

    By default by the bundle's own policy, manifest and CA, and as of the time at which it was saved; whoever made the
    bundle chose those. ``policy`` (a policy, or the path of its file), ``at`` (with a time zone), ``manifest`` and
    ``ca`` (as for `enarx.Client`) are what the caller demands instead. ``verifier`` checks signatures, as
    `enarx.evidence.awslc.AwsLcVerifier` does in half of the time. Raises MalformedError for what is no bundle,
    ConfigError or UsageError for what cannot be read.
    """
    read_in = read_bundle(bundle) if isinstance(bundle, bytes) else bundle
    rules = policy if isinstance(policy, Policy) else read_policy(os.fspath(policy)) if policy else None
    own = replace(
        read_in,
        manifest=manifest if manifest is not None else read_in.manifest,
        authority=_authority_of(ca) if ca is not None else read_in.authority,
    )
    expected = own.expectation(rules or own.policy.parsed())
    now = own.saved if at is None else at
    trust = trust_of(expected.policy, verifier, cache_entries=1)  # evidence and fresh evidence are of one chip
    verdict = verify(own.certificates, place(own.url)[0], expected, now, verifier=verifier, trust=trust)
    if own.session is None:
        return verdict
    return verify_session(verdict, own.session, expected, now, verifier=verifier, trust=trust)


def record_policy(path: PathLike) -> tuple[Policy, StatedPolicy]:
    """The policy file at ``path``, and as it goes into a bundle. ConfigError; UsageError for one with secrets."""
    where = Path(path)
    files: dict[str, bytes] = {}

    def recorded(name: str, limit: int, private: bool) -> bytes:
        data = read(where.parent / name, limit, private=private)
        if not private:
            files[name] = data
        return data

    policy = parse_policy(read(where, POLICY_MAX_BYTES), where.name, recorded)
    if policy.has_inline_secrets:
        raise UsageError(
            f"{where.name} has secrets in it, and a bundle is for others to read",
            code="bundle-secrets",
            hint="give the secrets by `file`, or a policy without [[secret]]: a client needs none",
        )
    return policy, StatedPolicy(where.name, policy.text, files)


def _authority_of(ca: PathLike | bytes) -> bytes | None:
    return ca if isinstance(ca, bytes) else authority_bytes("ca", os.fspath(ca))


def _saved(value: Any) -> datetime:
    try:
        if isinstance(value, str) and _TIME.fullmatch(value):
            return datetime.fromisoformat(value)
    except ValueError:
        pass
    raise bad("`saved` is not a time like 2026-11-27T16:00:00Z")


def _url(value: Any) -> str:
    url = text(value, NAME_MAX_CHARS)
    try:
        place(url)
    except EnarxError as error:
        raise bad(f"`url`: {error.message[:200]}") from error
    return url


def _session(value: Any) -> SessionEvidence:
    stated = mapping(value, "session", ("nonce", "exporter", "digests", "evidence"))
    digest = octets(SESSION_DIGEST_BYTES, SESSION_DIGEST_BYTES)
    nonce = octets(NONCE_BYTES, NONCE_BYTES)
    return SessionEvidence(
        nonce(stated["nonce"]),
        nonce(stated["exporter"]),
        items(stated["digests"], "digests", SESSIONS_MAX, digest, 1),
        octets(EVIDENCE_MAX_BYTES)(stated["evidence"]),
    )


def _authority(value: Any) -> bytes:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise bad("`authority` is no digest")
    return bytes.fromhex(value.removeprefix("sha256:"))


def _policy(value: Any) -> StatedPolicy:
    stated = mapping(value, "policy", ("name", "text", "files"))
    files = stated["files"]
    if not isinstance(files, dict) or len(files) > POLICY_FILES_MAX:
        raise bad(f"policy.files are not at most {POLICY_FILES_MAX} files")
    contents = octets(POLICY_FILE_MAX_BYTES)
    return StatedPolicy(
        text(stated["name"], NAME_MAX_CHARS),
        text(stated["text"], POLICY_MAX_BYTES),
        {text(name, NAME_MAX_CHARS): contents(data) for name, data in files.items()},
    )


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "format": str,
    "saved": _saved,
    "url": _url,
    "certificates": lambda value: items(value, "certificates", CHAIN_MAX, octets(CERTIFICATE_MAX_BYTES), 1),
    "session": nullable(_session),
    "endorsements": dict,
    "manifest": nullable(octets(MANIFEST_MAX_BYTES)),
    "authority": nullable(_authority),
    "signatures": lambda value: items(value, "signatures", OBJECTS_MAX, octets(OBJECT_MAX_BYTES)),
    "policy": _policy,
}
