"""``enarx steward secret``: secrets that workloads are given, in private files beside the policy that releases them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(modes: Subparsers, add_place: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add ``secret add``."""
    secret = modes.add_parser("secret", help="secrets that workloads are given")
    actions = secret.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="add a secret to the policy; reload the service with SIGHUP afterwards")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--workload", metavar="NAME", action="append", required=True, help="workload that may have it")
    add.add_argument("--file", metavar="FILE", help="where its bytes are (default: standard input)")
    add.add_argument("--simulated", action="store_true", help="release it to guests of a simulator as well")
    add_place(add)
    add.set_defaults(run=_add)


def _add(args: argparse.Namespace) -> int:
    from enarx.cli.steward import config_of
    from enarx.errors import ConfigError
    from enarx.tenant.policytables import SECRET_MAX_BYTES
    from enarx.tenant.steward.files import read, read_policy, replace, write_new

    config = Path(config_of(args))
    policy = read_policy(config)
    if any(one.name == args.name for one in policy.secrets):
        raise ConfigError(
            f"there is a secret {args.name}", code="secret-exists", hint="remove it from the policy first"
        )
    known = {one.name for one in policy.workloads}
    if set(args.workload) - known or "/" in args.name or args.name.startswith("."):
        raise ConfigError(
            f"the secret's name, or a workload of {', '.join(args.workload)}, is not right",
            code="secret-name",
            hint=f"workloads of the policy: {', '.join(sorted(known)) or 'none'}",
        )
    value = read(args.file, SECRET_MAX_BYTES) if args.file else sys.stdin.buffer.read(SECRET_MAX_BYTES + 1)
    if not 1 <= len(value) <= SECRET_MAX_BYTES:
        raise ConfigError("a secret has 1 to 65536 bytes", code="secret-size", hint="put larger things elsewhere")
    folder = config.parent / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    place = folder / args.name
    write_new(place, value, 0o600)
    workloads = ", ".join(f'"{one}"' for one in args.workload)
    simulated = "simulated = true\n" if args.simulated else ""
    table = f'\n[[secret]]\nname = "{args.name}"\nfile = "secrets/{args.name}"\nworkloads = [{workloads}]\n{simulated}'
    candidate = config.with_name(f".{config.name}.new")
    try:
        replace(candidate, policy.text.encode() + table.encode(), 0o600)
        read_policy(candidate)
        candidate.replace(config)
    except ConfigError:
        place.unlink()
        candidate.unlink(missing_ok=True)
        raise
    print(f"{config}: {args.name} is released to {', '.join(args.workload)}; reload the service with SIGHUP")
    return 0
