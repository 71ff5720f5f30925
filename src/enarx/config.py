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

This module is what a configuration is; `config_reader` is how one is read, and is imported by whoever has one to read.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from enarx.errors import ConfigError

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

PEM_BEGIN = "-----BEGIN CERTIFICATE-----"


class Protocol(enum.Enum):
    """What a socket of the workload speaks outside the Keep."""

    TLS = "tls"
    TCP = "tcp"


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
    return PEM_BEGIN in entry


def pem_of(entry: str, files: Mapping[str, bytes]) -> bytes:
    """The PEM certificates that an entry of ``ca`` or ``client_ca`` stands for.

    ``files`` maps each of `Config.ca_paths` to the content that was sent along. Checks size, armour and base64; whether
    the DER inside is a certificate is for the X.509 parser to say. Raises `ConfigError`: ``config-ca-missing`` when the
    file was not sent, ``config-ca`` when it is not PEM certificates of at most `MAX_PEM_BYTES`.
    """
    from enarx.config_reader import pem_problem
    from enarx.toml_document import show

    what = "inline certificate" if is_inline_pem(entry) else f"certificate file {show(entry)}"
    if not is_inline_pem(entry) and entry not in files:
        hint = "put the PEM file at that path, relative to Enarx.toml, or write the certificate into Enarx.toml"
        raise ConfigError(f"{what} did not come with the configuration", code="config-ca-missing", hint=hint)
    data = entry.encode() if is_inline_pem(entry) else files[entry]
    if problem := pem_problem(data):
        raise ConfigError(f"{what} {problem}", code="config-ca", hint="give certificates in PEM form, and nothing else")
    return data


def parse(text: bytes | str, *, source: str = "Enarx.toml") -> Config:
    """Read an ``Enarx.toml`` of at most `MAX_CONFIG_BYTES`. ``source`` is what messages call it.

    Raises `ConfigError` and nothing else, whatever the bytes.
    """
    from enarx.config_reader import read

    return read(text, source)
