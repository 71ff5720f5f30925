"""``Enarx.toml``: what a workload may see, read without trust in whoever wrote it.

The schema is the published one of Enarx, with one documented reading where its parser and its manual disagree, and
four additions (``ca``, ``client_ca``, ``[secret_env]`` and ``[limits]``):

================  ============================================================  =====================================
key               value                                                         when absent
================  ============================================================  =====================================
``steward``       URL, https only: it runs before a Steward, or not at all      the Keep certifies itself
``args``          array of strings, argv[1..]; argv[0] is always ``main.wasm``  none
``[[files]]``     one table per file descriptor, in order of descriptor number  no descriptors at all
``[env]``         table of strings, the whole environment but for FD_* and      empty
                  ``[secret_env]``
``[secret_env]``  table ``VARIABLE = "NAME"``: the variable is the secret of    no secret is in the environment
                  that name, which a Steward releases: UTF-8 without NUL
``[limits]``      see `Limits`                                                  the defaults of `Limits`
================  ============================================================  =====================================

A ``[[files]]`` entry has a ``kind``: ``null``, ``stdin``, ``stdout``, ``stderr``, ``listen`` or ``connect``.

- ``name`` must not contain ``:``, since FD_NAMES joins the names with it. It is required for listen, and defaults to
  ``host`` for connect and to the kind for the others.
- ``prot`` is ``tls`` (the default) or ``tcp``; ``port`` defaults to 443 for tls and to 80 for tcp.
- listen has ``addr`` (default ``::``) and ``client_ca``: clients must show a certificate that ends in one of these.
- connect has ``host`` (required) and ``ca``: these are the only trust anchors for that connection.

``ca`` and ``client_ca`` are arrays. An entry that contains ``-----BEGIN CERTIFICATE-----`` is the certificate itself;
any other is the path of a PEM file, relative to ``Enarx.toml`` or absolute. A Keep has no host file system, and the
bytes of ``Enarx.toml`` reach it verbatim because their digest is attested. So the host side reads the files that
`Config.ca_paths` lists and sends them along, and the Keep picks from those with `pem_of`. **A digest of Enarx.toml
covers a certificate written inline but not one in a file:** whoever sends files along must bind their digests too.

A file without ``[[files]]`` has no descriptors; only the absence of the whole file (`Config.default`) gives stdio.
Unknown keys are errors everywhere. Every error is a `ConfigError`; its message starts with ``SOURCE:LINE:COLUMN:``
unless it is about the file as a whole.

Reading TOML with positions is ``toml_document``'s part; this module is what a configuration is, and its schema. It is
long on purpose: whoever reviews what a workload may ask for finds a key's type, bounds and messages side by side.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import enum
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from enarx.errors import ConfigError
from enarx.toml_document import SHOWN_CHARS, Document, Path, label, show

MAX_CONFIG_BYTES = 1_000_000
MAX_PEM_BYTES = 64 * 1024  # one entry of `ca` or `client_ca`, inline or file
MAX_CA_ENTRIES = 64  # entries of one `ca` or `client_ca`
MAX_HOST_CHARS = 255  # a DNS name has at most 253
MAX_PATH_CHARS = 4096  # Linux PATH_MAX
MAX_PORT = 65_535
MAX_SECRET_ENV = 64  # entries of [secret_env]: a Steward releases no more secrets to one Keep

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # as in a Steward's policy
_PEM_BEGIN = "-----BEGIN CERTIFICATE-----"
_PEM_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")


class Protocol(enum.Enum):
    """What a socket of the workload speaks outside the Keep."""

    TLS = "tls"
    TCP = "tcp"


_DEFAULT_PORT = {Protocol.TLS: 443, Protocol.TCP: 80}


@dataclass(frozen=True, slots=True)
class NullFile:
    """Reads end at once, writes vanish."""

    name: str


@dataclass(frozen=True, slots=True)
class StdioFile:
    """One of the three standard streams of the host, in clear."""

    kind: Literal["stdin", "stdout", "stderr"]
    name: str


@dataclass(frozen=True, slots=True)
class ListenFile:
    """A listening socket. ``client_ca`` are raw entries for `pem_of`; when empty, clients show no certificate."""

    name: str
    prot: Protocol
    _: KW_ONLY
    addr: str = "::"
    port: int
    client_ca: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectFile:
    """A connected socket. ``ca`` are raw entries for `pem_of`; when empty, the Keep's ordinary trust anchors hold."""

    name: str
    prot: Protocol
    host: str
    port: int
    ca: tuple[str, ...] = ()


File = NullFile | StdioFile | ListenFile | ConnectFile


@dataclass(frozen=True, slots=True)
class Limits:
    """What the workload may use up, ``[limits]`` in the file.

    Sizes are bytes or text such as ``"512 MiB"`` (B, KiB, MiB, GiB); a time is seconds or text such as ``"1h30m"``
    (h, m, s, ms).

    - ``memory``       ``memory_bytes``      linear memory, 64 KiB to 4 GiB, default 1 GiB
    - ``filesystem``   ``filesystem_bytes``  files loaded for it and written by it, 0 to 4 GiB, default 256 MiB
    - ``descriptors``  ``open_descriptors``  open at once, ``[[files]]`` included, 3 to 65536, default 1024
    - ``deadline``     ``deadline_seconds``  wall clock from start to end, 10 ms to 365 days, default none
    - ``module``       ``module_bytes``      size of main.wasm, 64 KiB to 1 GiB, default 100,000,000 as in Enarx
    """

    memory_bytes: int = 1 * GIB
    filesystem_bytes: int = 256 * MIB
    open_descriptors: int = 1024
    deadline_seconds: float | None = None
    module_bytes: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Config:
    """One ``Enarx.toml``. ``Config()`` is an empty file: no descriptors; `Config.default` is no file at all."""

    steward: str | None = None
    args: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    secret_env: tuple[tuple[str, str], ...] = ()
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def default(cls) -> Config:
        """The configuration of a workload that comes without ``Enarx.toml``: the three standard streams."""
        return cls(
            files=(StdioFile("stdin", "stdin"), StdioFile("stdout", "stdout"), StdioFile("stderr", "stderr")),
        )

    def ca_paths(self) -> tuple[str, ...]:
        """The distinct files that ``ca`` and ``client_ca`` refer to, as written, for the host side to send along."""
        entries: list[str] = []
        for file in self.files:
            if isinstance(file, ListenFile):
                entries += file.client_ca
            elif isinstance(file, ConnectFile):
                entries += file.ca
        return tuple(dict.fromkeys(entry for entry in entries if not is_inline_pem(entry)))


def fd_names(config: Config) -> str:
    """FD_NAMES: the names of all descriptors in order, joined by ``:``."""
    return ":".join(file.name for file in config.files)


def environment(config: Config) -> list[tuple[str, str]]:
    """The environment but for its secrets: FD_COUNT and FD_NAMES, then ``[env]`` in the order of the file."""
    return [("FD_COUNT", str(len(config.files))), ("FD_NAMES", fd_names(config)), *config.env]


def is_inline_pem(entry: str) -> bool:
    """Whether an entry of ``ca`` or ``client_ca`` is the certificate itself rather than a path."""
    return _PEM_BEGIN in entry


def pem_of(entry: str, files: Mapping[str, bytes]) -> bytes:
    """The PEM certificates that an entry of ``ca`` or ``client_ca`` stands for.

    ``files`` maps each of `Config.ca_paths` to the content that was sent along. Checks size, armour and base64; whether
    the DER inside is a certificate is for the X.509 parser to say. Raises `ConfigError`: ``config-ca-missing`` when the
    file was not sent, ``config-ca`` when it is not PEM certificates of at most `MAX_PEM_BYTES`.
    """
    what = "inline certificate" if is_inline_pem(entry) else f"certificate file {show(entry)}"
    if not is_inline_pem(entry) and entry not in files:
        hint = "put the PEM file at that path, relative to Enarx.toml, or write the certificate into Enarx.toml"
        raise ConfigError(f"{what} did not come with the configuration", code="config-ca-missing", hint=hint)
    data = entry.encode() if is_inline_pem(entry) else files[entry]
    if problem := _pem_problem(data):
        raise ConfigError(f"{what} {problem}", code="config-ca", hint="give certificates in PEM form, and nothing else")
    return data


def _pem_problem(data: bytes) -> str:
    """What is wrong with PEM certificates, or nothing."""
    if len(data) > MAX_PEM_BYTES:
        return f"is {len(data)} bytes, more than {MAX_PEM_BYTES}"
    if b"PRIVATE KEY-----" in data:
        return "holds a private key, which does not belong in a configuration"
    blocks = _PEM_BLOCK.findall(data)
    if not blocks or len(blocks) != data.count(_PEM_BEGIN.encode()):
        return "holds no complete PEM certificate" if not blocks else "holds an incomplete PEM certificate"
    try:
        ders = [base64.b64decode(b"".join(block.split()), validate=True) for block in blocks]
    except binascii.Error:
        return "holds a PEM certificate that is not base64"
    return "" if all(ders) else "holds an empty PEM certificate"


def parse(text: bytes | str, *, source: str = "Enarx.toml") -> Config:
    """Read an ``Enarx.toml`` of at most `MAX_CONFIG_BYTES`. ``source`` is what messages call it.

    Raises `ConfigError` and nothing else, whatever the bytes.
    """
    doc = Document(text, source, MAX_CONFIG_BYTES)
    top = doc.data
    _check_keys(doc, (), top, ("steward", "args", "files", "env", "secret_env", "limits"), "")
    limits = _limits(doc, top.get("limits", {}))
    files = tuple(_file(doc, path, entry) for path, entry in _items(doc, ("files",), top.get("files", [])))
    if len(files) > limits.open_descriptors:
        what = f"{len(files)} files are more than the limit of {limits.open_descriptors} open descriptors"
        raise doc.error(("files",), "config-limit", what, "raise `descriptors` in [limits]")
    return Config(
        steward=_steward(doc, top["steward"]) if "steward" in top else None,
        args=tuple(_text(doc, path, arg) for path, arg in _items(doc, ("args",), top.get("args", []))),
        files=files,
        env=_variables(doc, "env", top.get("env", {})),
        secret_env=_secret_env(doc, top.get("secret_env", {}), top.get("env", {})),
        limits=limits,
    )


def _steward(doc: Document, value: object) -> str:
    text = _text(doc, ("steward",), value)
    try:
        url = urlsplit(text)
        valid = bool(url.scheme and url.hostname) and url.port != 0 and _is_graphic(text)
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
    return tuple((key, _text(doc, (name, key), value)) for key, value in table.items())


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
    kind = _choice(doc, (*path, "kind"), _required(doc, path, entry, "kind"), tuple(_FILE_KEYS))
    _check_keys(doc, path, entry, _FILE_KEYS[kind], f'[[files]] of kind "{kind}"')
    if kind == "null":
        return NullFile(_name(doc, path, entry, kind))
    if kind in _STDIO:
        return StdioFile(_STDIO[kind], _name(doc, path, entry, kind))
    prot = Protocol(_choice(doc, (*path, "prot"), entry.get("prot", "tls"), ("tls", "tcp")))
    lowest = 0 if kind == "listen" else 1  # 0: any free port
    port = _integer(doc, (*path, "port"), entry.get("port", _DEFAULT_PORT[prot]))
    _check_range(doc, (*path, "port"), port, (lowest, MAX_PORT), f"from {lowest} to {MAX_PORT}")
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
    name = _text(doc, (*path, "name"), entry.get("name", default))
    if ":" in name:
        hint = "FD_NAMES joins the names with ':'"
        if not given:
            hint = 'the name defaults to the host; give the entry one of its own, as in name = "server"'
        what = "file name must not contain ':' for key `files`"
        raise doc.error((*path, "name" if given else "host"), "config-name", what, hint)
    return name


def _host(doc: Document, path: Path, value: object) -> str:
    text = _text(doc, path, value)
    if not 0 < len(text) <= MAX_HOST_CHARS or not _is_graphic(text):
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
    items = [(at, _text(doc, at, item)) for at, item in _items(doc, path, entry[key])]
    if not 1 <= len(items) <= MAX_CA_ENTRIES:
        what = f"{label(path)} has {len(items)} entries, not 1 to {MAX_CA_ENTRIES}"
        raise doc.error(path, "config-ca", what, f"list PEM certificates or paths of PEM files, or remove `{key}`")
    for at, item in items:
        problem = "" if 0 < len(item) <= MAX_PATH_CHARS and item.isprintable() else "is neither PEM nor a path"
        if is_inline_pem(item):
            problem = _pem_problem(item.encode())
        if problem:
            hint = "give a PEM certificate or the path of a PEM file"
            raise doc.error(at, "config-ca", f"{label(at)} {problem}", hint)
    return tuple(item for _, item in items)


def _integer(doc: Document, path: Path, value: object, wanted: str = "an integer") -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise doc.type_error(path, wanted, value)
    return value


_SIZE = re.compile(r"([0-9]{1,20}) ?(B|KiB|MiB|GiB)?")
_UNIT = {None: 1, "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
_SPAN = re.compile(r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9})ms)?")


def _bytes(doc: Document, path: Path, value: object) -> int:
    """Bytes from an integer or from text such as ``64KiB``."""
    if not isinstance(value, str):
        return _integer(doc, path, value, 'an integer (bytes) or a string such as "512 MiB"')
    match = _SIZE.fullmatch(value)
    if match is None:
        hint = 'write bytes as an integer, or text such as "512 MiB" with B, KiB, MiB or GiB'
        raise doc.error(path, "config-value", f"{label(path)} is not a size: {show(value)}", hint)
    return int(match[1]) * _UNIT[match[2]]


def _seconds(doc: Document, path: Path, value: object) -> float:
    """Seconds from a number or from text such as ``1h30m``."""
    if isinstance(value, float):
        return value
    if not isinstance(value, str):
        return _integer(doc, path, value, 'a number (seconds) or a string such as "30s"')
    match = _SPAN.fullmatch(value)
    if match is None or not value:
        hint = 'write seconds as a number, or text such as "30s", "5m" or "1h30m"'
        raise doc.error(path, "config-value", f"{label(path)} is not a time span: {show(value)}", hint)
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


_LIMITS: dict[str, tuple[str, Callable[[Document, Path, object], float], tuple[float, float], str]] = {
    # key: field of Limits, how it is read, lowest and highest, the two in words
    "memory": ("memory_bytes", _bytes, (64 * KIB, 4 * GIB), "from 64 KiB to 4 GiB"),
    "filesystem": ("filesystem_bytes", _bytes, (0, 4 * GIB), "from 0 to 4 GiB"),
    "descriptors": ("open_descriptors", _integer, (3, 65_536), "from 3 to 65536"),
    "deadline": (
        "deadline_seconds",
        _seconds,
        (0.01, 365 * 86_400),
        "from 10 ms to 365 days; without it there is none",
    ),
    "module": ("module_bytes", _bytes, (64 * KIB, 1 * GIB), "from 64 KiB to 1 GiB"),
}


def _limits(doc: Document, table: object) -> Limits:
    if not isinstance(table, dict):
        raise doc.type_error(("limits",), "a table", table)
    _check_keys(doc, ("limits",), table, tuple(_LIMITS), "[limits]")
    found: dict[str, Any] = {}
    for key, value in table.items():
        name, read, bounds, words = _LIMITS[key]
        number = read(doc, ("limits", key), value)
        _check_range(doc, ("limits", key), number, bounds, words)
        found[name] = float(number) if key == "deadline" else number
    return Limits(**found)


def _check_range(doc: Document, path: Path, number: float, bounds: tuple[float, float], words: str) -> None:
    low, high = bounds
    if not low <= number <= high:  # so that NaN is out of any range
        raise doc.error(path, "config-value", f"{label(path)} is out of range: {number}", f"it must be {words}")


def _check_keys(doc: Document, path: Path, table: Mapping[str, object], valid: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in valid:
            hint = _nearest(key, valid, "keys")
            if _COUNTERPARTS.get(key) in valid:
                hint = f'"{key}" belongs to the other kind of socket; did you mean "{_COUNTERPARTS[key]}"?'
            what = f"unknown key {show(key)}" + (f" in {where}" if where else "")
            raise doc.error((*path, key), "config-unknown-key", what, hint, key=True)


def _nearest(word: str, valid: tuple[str, ...], plural: str) -> str:
    near = difflib.get_close_matches(word[:SHOWN_CHARS].lower(), valid, n=1)
    return f'did you mean "{near[0]}"?' if near else f"valid {plural}: {', '.join(valid)}"


def _required(doc: Document, path: Path, entry: Mapping[str, object], key: str) -> object:
    if key not in entry:
        what = f'{label(path)} has no "{key}"'
        hint = f"give it a kind, one of: {', '.join(_FILE_KEYS)}"
        if key != "kind":
            what, hint = f'{what}, which kind "{entry["kind"]}" needs', f'add {key} = "..."'
        raise doc.error(path, "config-missing-key", what, hint)
    return entry[key]


def _choice(doc: Document, path: Path, value: object, valid: tuple[str, ...]) -> str:
    text = _text(doc, path, value)
    if text not in valid:
        hint = _nearest(text, valid, "values")
        raise doc.error(path, "config-value", f"{label(path)} cannot be {show(text)}", hint)
    return text


def _text(doc: Document, path: Path, value: object) -> str:
    if not isinstance(value, str):
        raise doc.type_error(path, "a string", value)
    if "\0" in value:
        raise doc.error(path, "config-value", f"{label(path)} contains a NUL", "remove \\u0000")
    return value


def _items(doc: Document, path: Path, value: object) -> Iterator[tuple[Path, object]]:
    if not isinstance(value, list):
        wanted = "an array of tables, [[files]]" if path == ("files",) else "an array of strings"
        raise doc.type_error(path, wanted, value)
    for index, item in enumerate(value):
        yield (*path, index), item


def _is_graphic(text: str) -> bool:
    return text.isprintable() and not any(char.isspace() for char in text)
