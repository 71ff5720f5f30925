"""How a package is shown: plain values under stable names for machines, words for people.

Everything in a package is foreign: text is shown without control characters, and long lists in part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from enarx import archive
from enarx.config import ConnectFile, ListenFile, NullFile, Protocol, StdioFile
from enarx.mediatype import WASM
from enarx.toml_document import SHOWN_CHARS, show

if TYPE_CHECKING:
    from enarx.config import Config, File, Limits
    from enarx.tenant.package.inspect import Facts
    from enarx.tenant.package.reader import Package
    from enarx.tenant.signature.claims import Claim

FORMAT: Final = "enarx-package/1"
NAME_CHARS: Final = 500
"""How much of a package's name is shown: a pinned reference is no use in part."""
KEY_ID_CHARS: Final = 80
"""The same for the name of a key: our own are a digest."""
SHOWN_FILES: Final = 20
"""Files that are listed for a person; a machine is told all."""
_NOTHING: Final = "nothing"


def fields(package: Package, facts: Facts | None, claims: Sequence[Claim] = ()) -> dict[str, object]:
    """Everything as plain values. ``contents`` and what follows are null when the contents cannot be read."""
    header = package.header
    found: dict[str, object] = {
        "format": FORMAT,
        "digest": package.digest,
        "media_type": package.media_type,
        "size": package.size,
        "encrypted": header is not None,
        "key_id": header.key_id.hex() if header else None,
        "chunk_bytes": header.chunk_bytes if header else None,
        "content_bytes": header.length if header else None,
        "signatures": [{"kind": one.kind, "key_ids": list(one.keys), "fits": one.fits} for one in claims],
    }
    if facts is None:
        return found | dict.fromkeys(("contents", "config", "imports", "memory_bytes", "problems"))
    return found | {
        "contents": [{"path": one.path, "directory": one.directory, "size": one.size} for one in facts.entries],
        "config": _config_fields(facts.config) | {"present": facts.configured} if facts.config else None,
        "imports": sorted(set(facts.module.imports)) if facts.module else None,
        "memory_bytes": facts.module.memory_bytes if facts.module else None,
        "problems": [{"code": one.code, "message": one.message, "hint": one.hint} for one in facts.problems],
    }


def _config_fields(config: Config) -> dict[str, object]:
    limits = config.limits
    return {
        "steward": config.steward,
        "args": list(config.args),
        "env": dict(config.env),
        "secret_env": dict(config.secret_env),
        "files": [_file_fields(one) for one in config.files],
        "limits": {
            "memory": limits.memory_bytes,
            "filesystem": limits.filesystem_bytes,
            "descriptors": limits.open_descriptors,
            "deadline": limits.deadline_seconds,
            "module": limits.module_bytes,
        },
    }


def _file_fields(file: File) -> dict[str, object]:
    match file:
        case NullFile():
            return {"kind": "null", "name": file.name}
        case StdioFile():
            return {"kind": file.kind, "name": file.name}
        case ListenFile():
            found: dict[str, object] = {"kind": "listen", "name": file.name, "prot": file.prot.value}
            return found | {"addr": file.addr, "port": file.port, "client_ca": list(file.client_ca)}
        case ConnectFile():
            found = {"kind": "connect", "name": file.name, "prot": file.prot.value}
            return found | {"host": file.host, "port": file.port, "ca": list(file.ca)}


def text(name: str, package: Package, facts: Facts | None, claims: Sequence[Claim] = ()) -> str:
    """What a person wants to know before they publish, sign or deploy the package."""
    sections = [(_plain(name, NAME_CHARS), list(_what(package, facts)))]
    sections.append(("Signatures", list(_signatures(claims)) or ["none beside it"]))
    if facts is not None:
        sections.append(("Contents", list(_contents(facts))))
        if facts.config is not None:
            sections += _permissions(facts, facts.config)
        if facts.module is not None:
            sections.append(("Imports", list(_imports(facts.module.imports))))
        sections.append(("Would a Keep run it?", list(_verdict(facts))))
    return "\n\n".join("\n".join((title, *(f"  {line}" for line in lines))) for title, lines in sections)


def _what(package: Package, facts: Facts | None) -> Iterator[str]:
    if package.media_type == WASM:
        yield "a WebAssembly module alone, without Enarx.toml: not a package, and a Keep runs it all the same"
    else:
        yield f"a package{' that is encrypted' if package.header else ', not encrypted: whoever has it can read it'}"
    yield f"digest      {package.digest}"
    yield f"media type  {package.media_type}"
    yield f"size        {package.size} bytes"
    if package.header is None:
        return
    yield f"key id      {package.header.key_id.hex()}"
    if facts is None:
        yield f"contents    {package.header.length} bytes that only the key opens (--key-file KEY)"
        yield "            whether they are what was encrypted is known when they are opened"
    else:
        yield f"contents    {package.header.length} bytes, opened with the key: they are what was encrypted"


def _signatures(claims: Sequence[Claim]) -> Iterator[str]:
    """Who says that it is theirs, which nobody has checked yet."""
    for one in claims:
        if one.kind == "sigstore":
            yield "a sigstore bundle; NOT CHECKED"
        elif one.kind == "unreadable":
            yield "something that is no signature"
        elif not one.fits:
            yield "a signature of ANOTHER package"
        else:
            yield f"by {', '.join(_plain(key, KEY_ID_CHARS) for key in one.keys) or 'nobody'}; NOT CHECKED"
    if claims:
        yield "`enarx package verify --key PUB` checks who signed"


def _contents(facts: Facts) -> Iterator[str]:
    for name in (archive.CONFIG, archive.MODULE):
        entry = next((one for one in facts.entries if one.path == name), None)
        yield f"{name:<12}{f'{entry.size} bytes' if entry else 'none'}"
    files = [one for one in facts.entries if one.path.startswith(f"{archive.FILES}/") and not one.directory]
    if facts.has_files:
        yield f"{'files/':<12}{len(files)} file{'s' if len(files) != 1 else ''}, {sum(one.size for one in files)} bytes"
        for one in files[:SHOWN_FILES]:
            yield f"  {_plain(one.path.removeprefix(archive.FILES))}, {one.size} bytes"
        if len(files) > SHOWN_FILES:
            yield f"  and {len(files) - SHOWN_FILES} more; --json lists them all"


def _permissions(facts: Facts, config: Config) -> list[tuple[str, list[str]]]:
    return [
        ("Arguments", [show(one) for one in config.args] or ["none, but for what the deployer adds"]),
        ("Sockets", list(_sockets(config.files)) or ["none: it can reach nothing, and nothing can reach it"]),
        ("Standard streams", list(_streams(config.files)) or ["none"]),
        ("Files", list(_files(facts, config.limits))),
        ("Environment", list(_environment(facts, config))),
        ("Secrets", list(_secrets(config))),
        ("Limits", list(_limits(config.limits))),
    ]


def _sockets(files: Iterable[File]) -> Iterator[str]:
    for number, file in enumerate(files):
        if isinstance(file, ListenFile):
            port = file.port or "any free port"
            yield f"{number}: listens at {_plain(file.addr)} port {port}, {_listening(file)}"
        elif isinstance(file, ConnectFile):
            yield f"{number}: connects to {_plain(file.host)} port {file.port}, {_connecting(file)}"


def _listening(file: ListenFile) -> str:
    if file.prot is Protocol.TCP:
        return "NOT encrypted: the host reads and changes it"
    if file.client_ca:
        return f"TLS that ends in the Keep, and clients must show a certificate from {_authorities(file.client_ca)}"
    return "TLS that ends in the Keep, for any client"


def _connecting(file: ConnectFile) -> str:
    if file.prot is Protocol.TCP:
        return "NOT encrypted: the host reads and changes it"
    believed = _authorities(file.ca) if file.ca else "the Keep's ordinary trust anchors"
    return f"TLS that begins in the Keep, to a server with a certificate from {believed}"


def _authorities(entries: tuple[str, ...]) -> str:
    return f"{len(entries)} authorities that Enarx.toml names" if len(entries) > 1 else "the one that Enarx.toml names"


def _streams(files: Iterable[File]) -> Iterator[str]:
    words = {
        "stdin": "reads what the host gives it",
        "stdout": "is for the host to read",
        "stderr": "is for the host to read",
    }
    for number, file in enumerate(files):
        if isinstance(file, StdioFile):
            yield f"{number}: {file.kind} {words[file.kind]}"
        elif isinstance(file, NullFile):
            yield f"{number}: null, nothing to read and nowhere to write"


def _files(facts: Facts, limits: Limits) -> Iterator[str]:
    if facts.has_files:
        yield "its root directory / is a copy of files/ in the Keep's memory; what it writes there is gone when it ends"
        yield f"at most {_size(limits.filesystem_bytes)} in all, of which the package brings {_brought(facts)}"
    else:
        yield "no directory of its own"
    yield "with a Steward, /keep: its certificate, its manifest, and the secrets released to it, to read"


def _brought(facts: Facts) -> str:
    return _size(sum(one.size for one in facts.entries if one.path.startswith(f"{archive.FILES}/")))


def _environment(facts: Facts, config: Config) -> Iterator[str]:
    if facts.configured:
        yield f"FD_COUNT and FD_NAMES, which describe its {len(config.files)} descriptors"
    for name, value in config.env:
        yield f"{_plain(name)} = {show(value)}"
    if not facts.configured and not config.env:
        yield "none, but for what the deployer adds"


def _secrets(config: Config) -> Iterator[str]:
    for variable, name in config.secret_env:
        yield f"the variable {_plain(variable)} is the Steward's secret {name}"
    if not config.secret_env:
        yield "none in the environment"
    if config.steward is not None:
        yield f"asks the Steward at {_plain(config.steward)}"
    elif config.secret_env:
        yield "names no Steward: the deployer must, or a Keep does not run it"
    else:
        yield "names no Steward: the deployer does, or it gets no secrets and certifies itself"


def _limits(limits: Limits) -> Iterator[str]:
    yield f"memory       {_size(limits.memory_bytes)}"
    yield f"file system  {_size(limits.filesystem_bytes)}"
    yield f"descriptors  {limits.open_descriptors} open at once"
    yield f"module       {_size(limits.module_bytes)}"
    yield f"time         {'no limit' if limits.deadline_seconds is None else f'{limits.deadline_seconds:g} seconds'}"


def _imports(imports: Iterable[str]) -> Iterator[str]:
    by_module: dict[str, set[str]] = {}
    for one in imports:
        module, _, name = one.partition("::")
        by_module.setdefault(module, set()).add(name)
    for module, names in sorted(by_module.items()):
        yield f"{_plain(module)}: {', '.join(_plain(name) for name in sorted(names))}"
    if not by_module:
        yield _NOTHING


def _verdict(facts: Facts) -> Iterator[str]:
    if not facts.problems:
        yield "yes"
    for one in facts.problems:
        yield f"NO: {_plain(one.message)}"


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} bytes"


def _plain(foreign: str, limit: int = SHOWN_CHARS) -> str:
    """Foreign text without quotes: short, and without control characters for the terminal."""
    return show(foreign, limit)[1:-1]
