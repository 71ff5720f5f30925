"""Makes a package: reads, judges by the Keep's rules, and writes. The same input makes the same bytes everywhere.

Nothing of the machine gets in: no times, owners, permissions or order of a directory. An encrypted package is another
one each time, because its key and salt are fresh.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from enarx import archive, envelope
from enarx.envelope import DEFAULT_CHUNK_BYTES, SALT_BYTES, Header
from enarx.errors import EnarxError, UsageError
from enarx.tenant.package.draft import Draft, draft
from enarx.tenant.package.rules import KeepRules, module_facts, problems, size_problems
from enarx.tenant.package.seal import key_id, seal
from enarx.tenant.package.source import Source, read_source


@dataclass(frozen=True, slots=True)
class Built:
    """A package that is written, and not yet in its place: ``publish`` puts it there.

    ``digest`` is ``sha256:...``; ``key_id`` is that of an encrypted package.
    """

    digest: str
    size: int
    media_type: str
    key_id: bytes | None
    _draft: Draft

    def publish(self) -> None:
        """Put the package in its place. UsageError."""
        self._draft.publish()


@contextlib.contextmanager
def build(
    place: Path,
    target: Path,
    rules: KeepRules,
    *,
    key: bytes | None = None,
    apart: Sequence[Path] = (),
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
) -> Iterator[Built]:
    """The package of the directory or module at ``place``, encrypted when there is a ``key``.

    Unless it is published it is gone afterwards, and what was at ``target`` is still there. ``apart`` are further files
    that the caller will write: neither they nor ``target`` may be in what is packed, or each other. Raises EnarxError
    for whatever is wrong, before a byte is written if it can be known then.
    """
    _check_outputs(place, (target, *apart))
    source = read_source(place)
    check(source, rules, encrypted=key is not None, chunk_bytes=chunk_bytes)
    with draft(target) as one:
        pieces = source.pieces()
        if key is None:
            one.write(pieces)
            yield Built(one.digest, one.size, archive.MEDIA_TYPE, None, one)
        else:
            salt = os.urandom(SALT_BYTES)
            one.write(seal(pieces, source.archive_bytes, key, salt=salt, chunk_bytes=chunk_bytes))
            yield Built(one.digest, one.size, envelope.MEDIA_TYPE, key_id(key, salt), one)


def check(source: Source, rules: KeepRules, *, encrypted: bool = False, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> None:
    """Raise what keeps a Keep from running it: the first thing that is wrong, and the others in its message."""
    facts = module_facts(source.module, rules)
    found = problems(source.config, len(source.module), facts, source.entries(), rules)
    found += size_problems(source.archive_bytes)
    if encrypted and not found:
        found += size_problems(Header(chunk_bytes, source.archive_bytes, bytes(32), bytes(32)).total_bytes)
    if len(found) > 1:
        raise joined(found)
    for one in found:
        raise one


def joined(found: Sequence[EnarxError]) -> EnarxError:
    """One error of the kind of the first that says all of them."""
    first = found[0]
    return type(first)("\n".join(one.message for one in found), code=first.code, hint=first.hint)


def _check_outputs(place: Path, outputs: Sequence[Path]) -> None:
    try:
        inside = place.resolve()
        resolved = [one.parent.resolve() / one.name for one in outputs]
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{place} is not a path: {error}", hint="check the path") from error
    for one in resolved:
        if inside.is_dir() and one.is_relative_to(inside):
            raise UsageError(
                f"{one} would lie in {inside}, which is what is packed",
                code="package-output",
                hint="write it somewhere else, or it is in the way, or in the package, the next time",
            )
        if one == inside or resolved.count(one) > 1:
            raise UsageError(
                f"{one} cannot be two things at once", code="package-output", hint="give each file a name of its own"
            )
