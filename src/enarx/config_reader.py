"""Reads ``Enarx.toml``: each key's type, bounds and messages side by side. What the keys mean says `config`.

Reading TOML with positions is ``toml_document``'s part.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from enarx.config import (
    GIB,
    KIB,
    MAX_CA_ENTRIES,
    MAX_CONFIG_BYTES,
    MAX_HOST_CHARS,
    MAX_PATH_CHARS,
    MAX_PEM_BYTES,
    MAX_PORT,
    MAX_SECRET_ENV,
    PEM_BEGIN,
    Config,
    ConnectFile,
    File,
    Limits,
    ListenFile,
    NullFile,
    Protocol,
    StdioFile,
    is_inline_pem,
)
from enarx.config_values import check_range, choice, integer, is_graphic, items, nearest, size, span, text_of
from enarx.toml_document import Document, Path, label, show

_SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # as in a Steward's policy
_PEM_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")
_DEFAULT_PORT = {Protocol.TLS: 443, Protocol.TCP: 80}


def pem_problem(data: bytes) -> str:
    """What is wrong with PEM certificates, or nothing."""
    if len(data) > MAX_PEM_BYTES:
        return f"is {len(data)} bytes, more than {MAX_PEM_BYTES}"
    if b"PRIVATE KEY-----" in data:
        return "holds a private key, which does not belong in a configuration"
    blocks = _PEM_BLOCK.findall(data)
    if not blocks or len(blocks) != data.count(PEM_BEGIN.encode()):
        return "holds no complete PEM certificate" if not blocks else "holds an incomplete PEM certificate"
    try:
        ders = [base64.b64decode(b"".join(block.split()), validate=True) for block in blocks]
    except binascii.Error:
        return "holds a PEM certificate that is not base64"
    return "" if all(ders) else "holds an empty PEM certificate"


def read(text: bytes | str, source: str) -> Config:
    """See `config.parse`."""
    doc = Document(text, source, MAX_CONFIG_BYTES)
    top = doc.data
    _check_keys(doc, (), top, ("steward", "args", "files", "env", "secret_env", "limits"), "")
    limits = _limits(doc, top.get("limits", {}))
    files = tuple(_file(doc, path, entry) for path, entry in items(doc, ("files",), top.get("files", [])))
    if len(files) > limits.open_descriptors:
        what = f"{len(files)} files are more than the limit of {limits.open_descriptors} open descriptors"
        raise doc.error(("files",), "config-limit", what, "raise `descriptors` in [limits]")
    return Config(
        steward=_steward(doc, top["steward"]) if "steward" in top else None,
        args=tuple(text_of(doc, path, arg) for path, arg in items(doc, ("args",), top.get("args", []))),
        files=files,
        env=_variables(doc, "env", top.get("env", {})),
        secret_env=_secret_env(doc, top.get("secret_env", {}), top.get("env", {})),
        limits=limits,
    )


def _steward(doc: Document, value: object) -> str:
    text = text_of(doc, ("steward",), value)
    try:
        url = urlsplit(text)
        valid = bool(url.scheme and url.hostname) and url.port != 0 and is_graphic(text)
    except ValueError:
        valid = False
    if not valid:
        hint = 'write it as in steward = "https://attest.example.com"'
        raise doc.error(("steward",), "config-steward", f"steward is not a URL: {show(text)}", hint)
    if url.scheme != "https":
        what = "refusing to use an unencrypted steward url"
        raise doc.error(("steward",), "config-steward", what, "the URL of the Steward must start with https://")
    return text


def _variables(doc: Document, name: str, table: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(table, dict):
        raise doc.type_error((name,), "a table of strings", table)
    for key in table:
        if not key or "=" in key or "\0" in key:
            what = f"{show(key)} cannot be the name of an environment variable"
            hint = "a name is not empty and has no '=' or NUL"
            raise doc.error((name, key), "config-env-name", what, hint, key=True)
        if key in ("FD_COUNT", "FD_NAMES"):
            what = f"{key} is set by the Keep and cannot be set in [{name}]"
            raise doc.error((name, key), "config-env-name", what, "remove it: it is made from [[files]]", key=True)
    return tuple((key, text_of(doc, (name, key), value)) for key, value in table.items())


def _secret_env(doc: Document, table: object, env: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    found = _variables(doc, "secret_env", table)
    if len(found) > MAX_SECRET_ENV:
        what = f"[secret_env] has {len(found)} entries, more than {MAX_SECRET_ENV}"
        raise doc.error(("secret_env",), "config-limit", what, "read the others from /keep/secrets")
    for key, secret in found:
        if key in env:
            what, hint = f"{show(key)} is in [env] as well", "a variable has one value: remove one of the two"
            raise doc.error(("secret_env", key), "config-env-name", what, hint, key=True)
        if not _SECRET_NAME.fullmatch(secret):
            what = f"{label(('secret_env', key))} is not the name of a secret"  # unshown: it may be the secret itself
            hint = "write the name that the Steward's policy gives it; the secret itself does not belong here"
            raise doc.error(("secret_env", key), "config-value", what, hint)
    return found


_FILE_KEYS = {
    "null": ("kind", "name"),
    "stdin": ("kind", "name"),
    "stdout": ("kind", "name"),
    "stderr": ("kind", "name"),
    "listen": ("kind", "name", "prot", "addr", "port", "client_ca"),
    "connect": ("kind", "name", "prot", "host", "port", "ca"),
}
_ALL_FILE_KEYS = tuple(dict.fromkeys(key for keys in _FILE_KEYS.values() for key in keys))
_COUNTERPARTS = {"host": "addr", "ca": "client_ca", "addr": "host", "client_ca": "ca"}
_STDIO: dict[str, Literal["stdin", "stdout", "stderr"]] = {"stdin": "stdin", "stdout": "stdout", "stderr": "stderr"}


def _file(doc: Document, path: Path, entry: object) -> File:
    if not isinstance(entry, dict):
        raise doc.type_error(path, "a table", entry)
    if "kind" not in entry:
        _check_keys(doc, path, entry, _ALL_FILE_KEYS, "[[files]]")  # a misspelt `kind` is reported as such
    kind = choice(doc, (*path, "kind"), _required(doc, path, entry, "kind"), tuple(_FILE_KEYS))
    _check_keys(doc, path, entry, _FILE_KEYS[kind], f'[[files]] of kind "{kind}"')
    if kind == "null":
        return NullFile(_name(doc, path, entry, kind))
    if kind in _STDIO:
        return StdioFile(_STDIO[kind], _name(doc, path, entry, kind))
    prot = Protocol(choice(doc, (*path, "prot"), entry.get("prot", "tls"), ("tls", "tcp")))
    lowest = 0 if kind == "listen" else 1  # 0: any free port
    port = integer(doc, (*path, "port"), entry.get("port", _DEFAULT_PORT[prot]))
    check_range(doc, (*path, "port"), port, (lowest, MAX_PORT), f"from {lowest} to {MAX_PORT}")
    if kind == "listen":
        _required(doc, path, entry, "name")
        name = _name(doc, path, entry, "")
        addr = _host(doc, (*path, "addr"), entry.get("addr", "::"))
        return ListenFile(
            name, prot, addr=addr, port=port, client_ca=_certificates(doc, path, entry, "client_ca", prot)
        )
    host = _host(doc, (*path, "host"), _required(doc, path, entry, "host"))
    return ConnectFile(_name(doc, path, entry, host), prot, host, port, _certificates(doc, path, entry, "ca", prot))


def _name(doc: Document, path: Path, entry: Mapping[str, object], default: str) -> str:
    given = "name" in entry
    name = text_of(doc, (*path, "name"), entry.get("name", default))
    if ":" in name:
        hint = "FD_NAMES joins the names with ':'"
        if not given:
            hint = 'the name defaults to the host; give the entry one of its own, as in name = "server"'
        what = "file name must not contain ':' for key `files`"
        raise doc.error((*path, "name" if given else "host"), "config-name", what, hint)
    return name


def _host(doc: Document, path: Path, value: object) -> str:
    text = text_of(doc, path, value)
    if not 0 < len(text) <= MAX_HOST_CHARS or not is_graphic(text):
        what = f"{label(path)} is neither a host name nor an address: {show(text)}"
        raise doc.error(
            path, "config-value", what, f"1 to {MAX_HOST_CHARS} characters, no spaces; the port goes into `port`"
        )
    return text


def _certificates(
    doc: Document, entry_path: Path, entry: Mapping[str, object], key: str, prot: Protocol
) -> tuple[str, ...]:
    """The raw entries of ``ca`` or ``client_ca``. An empty array is refused: it could mean "none" as well as "any"."""
    if key not in entry:
        return ()
    path = (*entry_path, key)
    if prot is not Protocol.TLS:
        what = f'`{key}` has no meaning with prot = "tcp"'
        raise doc.error(path, "config-value", what, f'use prot = "tls", or remove `{key}`', key=True)
    found = [(at, text_of(doc, at, item)) for at, item in items(doc, path, entry[key])]
    if not 1 <= len(found) <= MAX_CA_ENTRIES:
        what = f"{label(path)} has {len(found)} entries, not 1 to {MAX_CA_ENTRIES}"
        raise doc.error(path, "config-ca", what, f"list PEM certificates or paths of PEM files, or remove `{key}`")
    for at, item in found:
        problem = "" if 0 < len(item) <= MAX_PATH_CHARS and item.isprintable() else "is neither PEM nor a path"
        if is_inline_pem(item):
            problem = pem_problem(item.encode())
        if problem:
            hint = "give a PEM certificate or the path of a PEM file"
            raise doc.error(at, "config-ca", f"{label(at)} {problem}", hint)
    return tuple(item for _, item in found)


_LIMITS: dict[str, tuple[str, Callable[[Document, Path, object], float], tuple[float, float], str]] = {
    # key: field of Limits, how it is read, lowest and highest, the two in words
    "memory": ("memory_bytes", size, (64 * KIB, 4 * GIB), "from 64 KiB to 4 GiB"),
    "filesystem": ("filesystem_bytes", size, (0, 4 * GIB), "from 0 to 4 GiB"),
    "descriptors": ("open_descriptors", integer, (3, 65_536), "from 3 to 65536"),
    "deadline": (
        "deadline_seconds",
        span,
        (0.01, 365 * 86_400),
        "from 10 ms to 365 days; without it there is none",
    ),
    "module": ("module_bytes", size, (64 * KIB, 1 * GIB), "from 64 KiB to 1 GiB"),
}


def _limits(doc: Document, table: object) -> Limits:
    if not isinstance(table, dict):
        raise doc.type_error(("limits",), "a table", table)
    _check_keys(doc, ("limits",), table, tuple(_LIMITS), "[limits]")
    found: dict[str, Any] = {}
    for key, value in table.items():
        name, read, bounds, words = _LIMITS[key]
        number = read(doc, ("limits", key), value)
        check_range(doc, ("limits", key), number, bounds, words)
        found[name] = float(number) if key == "deadline" else number
    return Limits(**found)


def _check_keys(doc: Document, path: Path, table: Mapping[str, object], valid: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in valid:
            hint = nearest(key, valid, "keys")
            if _COUNTERPARTS.get(key) in valid:
                hint = f'"{key}" belongs to the other kind of socket; did you mean "{_COUNTERPARTS[key]}"?'
            what = f"unknown key {show(key)}" + (f" in {where}" if where else "")
            raise doc.error((*path, key), "config-unknown-key", what, hint, key=True)


def _required(doc: Document, path: Path, entry: Mapping[str, object], key: str) -> object:
    if key not in entry:
        what = f'{label(path)} has no "{key}"'
        hint = f"give it a kind, one of: {', '.join(_FILE_KEYS)}"
        if key != "kind":
            what, hint = f'{what}, which kind "{entry["kind"]}" needs', f'add {key} = "..."'
        raise doc.error(path, "config-missing-key", what, hint)
    return entry[key]
