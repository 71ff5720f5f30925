"""Names of deployments: what they may be, and readable ones for those who give none."""

from __future__ import annotations

import re
import secrets
from typing import Final

from enarx.errors import UsageError

MAX_NAME_CHARS: Final = 63
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_FIRST: Final = (
    "amber azure bold brave bright brisk calm clear cobalt coral crisp dapper eager early fair fleet fresh gentle "
    "golden green hardy hazel humble ivory jade jolly keen kind late lively lucid lunar mellow merry misty modest "
    "neat nimble noble olive pale placid plain polar proud quick quiet rapid rosy ruby rustic sandy silent silver "
    "sleek snowy solar steady stout sunny swift tidal vivid warm witty"
)
_SECOND: Final = (
    "alder aspen badger beacon birch bison brook canyon cedar comet condor cove crane creek cypress dolphin dune "
    "eagle egret elm falcon fern finch fjord fox garnet glacier grove harbor hawk heron ibex island juniper "
    "kestrel lagoon lark ledge lichen linden lynx maple marten meadow moss oak orchid osprey otter pine plover "
    "quartz raven reef ridge robin sable spruce stone swan tern thistle wren"
)


def check_name(name: str) -> str:
    """``name``, if a deployment can be called so. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a deployment",
            code="deployment-name",
            hint=f"letters, digits, `-`, `_` and `.`, a letter or digit first, {MAX_NAME_CHARS} at most",
        )
    return name


def is_name(name: str) -> bool:
    """Whether a deployment can be called so."""
    return _NAME.fullmatch(name) is not None


def random_name() -> str:
    """Two words of some four thousand pairs."""
    return f"{secrets.choice(_FIRST.split())}-{secrets.choice(_SECOND.split())}"
