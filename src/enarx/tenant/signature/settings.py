"""``signed_by`` and ``threshold`` of a workload, and ``[sigstore]``, as a policy file has them.

::

    [workload.web]
    signed_by = ["release.pub", "-----BEGIN PUBLIC KEY-----...", {identity = "...", issuer = "https://..."}]
    threshold = 2                       how many of them have to sign; 1 when it is not stated

    [sigstore]
    trusted_root = "trusted_root.json"  for identities: whom sigstore's certificates and logs are believed of
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from enarx.errors import ConfigError, EnarxError
from enarx.tenant.policytables import Tables
from enarx.tenant.signature.bundle import TRUSTED_ROOT_MAX_BYTES, Identity, Sigstore
from enarx.tenant.signature.keys import KEY_FILE_MAX_BYTES, PublicKey, parse_public
from enarx.tenant.signature.signers import Signer, Signers
from enarx.toml_document import Path, label, show

SIGNERS_MAX: Final = 16
"""Keys and identities of one workload (count)."""
IDENTITY_MAX_CHARS: Final = 2048
"""Longest identity or issuer (characters)."""

Read: TypeAlias = Callable[[str, int, bool], bytes]
"""``enarx.tenant.policy.Read``."""


def read_sigstore(reader: Tables, table: Any, read: Read, *, needed_by: str | None) -> Sigstore | None:
    """``[sigstore]``, ready to verify with; None when there is none. Raises ConfigError, also without the extra.

    ``needed_by`` is the name of a workload that an identity may sign, for which there has to be one.
    """
    if table is None and needed_by is not None:
        path = ("workload", needed_by, "signed_by")
        what, hint = f"{label(path)} names an identity of no sigstore", 'add [sigstore] with trusted_root = "FILE"'
        raise reader.document.error(path, "policy-value", what, hint)
    if table is None:
        return None
    stated = reader.only_keys(("sigstore",), table, ("trusted_root",))
    place = ("sigstore", "trusted_root")
    if "trusted_root" not in stated:
        hint = 'trusted_root = "FILE"; it is not fetched'
        raise reader.document.error(("sigstore",), "policy-value", "[sigstore] names no trusted root", hint)
    data = read(reader.text(place, stated["trusted_root"]), TRUSTED_ROOT_MAX_BYTES, False)
    try:
        return Sigstore(data)
    except ConfigError as error:
        raise reader.document.error(place, error.code, error.message, error.hint) from error


def read_signers(reader: Tables, workload: Path, stated: Mapping[str, Any], read: Read) -> Signers | None:
    """Who has to sign a workload, of its table; None when nobody has to. Raises ConfigError."""
    path = (*workload, "signed_by")
    if "signed_by" not in stated:
        if "threshold" in stated:
            what = f"{label(workload)} has a threshold and nobody to sign"
            raise reader.document.error((*workload, "threshold"), "policy-value", what, "name signers under signed_by")
        return None
    listed = reader.listing(path, stated["signed_by"])
    if len(listed) > SIGNERS_MAX:
        what, hint = f"{label(path)} has {len(listed)} signers", f"name at most {SIGNERS_MAX}"
        raise reader.document.error(path, "policy-value", what, hint)
    found: dict[Signer, int] = {}
    for index, one in enumerate(listed):
        place = (*path, index) if isinstance(stated["signed_by"], list) else path
        signer = _signer(reader, place, one, read)
        if signer in found:
            what = f"{label(place)} is signer {found[signer]} again"
            raise reader.document.error(place, "policy-contradiction", what, "it would count once: name others")
        found[signer] = index
    threshold = stated.get("threshold", 1)
    if type(threshold) is not int or not 1 <= threshold <= len(found):  # not isinstance: a bool is an int
        wanted = f"a number from 1 to {len(found)}"
        raise reader.document.type_error((*workload, "threshold"), wanted, threshold)
    return Signers(tuple(found), threshold)


def _signer(reader: Tables, path: Path, value: Any, read: Read) -> Signer:
    if isinstance(value, dict):
        return _identity(reader, path, value)
    return _key(reader, path, reader.text(path, value), read)


def _key(reader: Tables, path: Path, text: str, read: Read) -> PublicKey:
    """A key in the policy itself, or in a file that it names."""
    inline = text.lstrip().startswith("-----BEGIN")
    pem = text.encode() if inline else read(text, KEY_FILE_MAX_BYTES, False)
    try:
        return parse_public(pem)
    except EnarxError as error:
        what = f"{label(path) if inline else show(text)}: {error.message}"
        raise reader.document.error(path, "policy-value", what, error.hint) from error


def _identity(reader: Tables, path: Path, table: Mapping[str, Any]) -> Identity:
    stated = reader.only_keys(path, table, ("identity", "issuer"))
    for key in ("identity", "issuer"):
        place = (*path, key)
        text = reader.text(place, stated[key]) if key in stated else ""
        if not text or len(text) > IDENTITY_MAX_CHARS or not text.isprintable():
            what = f"{label(path)} has no {key} of 1 to {IDENTITY_MAX_CHARS} printable characters"
            hint = "whose signature it is, and who vouches for it; neither has wildcards"
            raise reader.document.error(place if key in stated else path, "policy-value", what, hint)
    if not stated["issuer"].startswith("https://"):
        what, hint = f"{show(stated['issuer'])} is not an issuer", "https://..., as the certificate has it"
        raise reader.document.error((*path, "issuer"), "policy-value", what, hint)
    return Identity(stated["identity"], stated["issuer"])
