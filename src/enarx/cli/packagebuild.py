"""``enarx package build``: a directory or a module becomes a package, encrypted if asked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from enarx.tenant.package.build import Built

STEWARD_CONFIG: Final = "steward.toml"
_DESCRIPTION: Final = """\
Build a package from a directory that holds main.wasm, and may hold Enarx.toml and files/, or from a module alone.
Both are checked by the rules of Keeps before anything is written. The same input gives the same package on every
machine; an encrypted package is a new one each time, under a key of its own."""


def add_parsers(modes: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``build``."""
    build = modes.add_parser(
        "build", help="make a package of a workload", description=_DESCRIPTION,
        epilog="A module that a Keep would not run is refused, with the reason.",
    )  # fmt: skip
    build.add_argument("source", metavar="DIR|WASM", help="what is to be packed")
    build.add_argument("-o", "--output", metavar="FILE", required=True, help="where the package goes")
    build.add_argument("--encrypt", action="store_true", help="encrypt it with a fresh key, which must go somewhere:")
    build.add_argument("--key-file", metavar="KEY", help="write the key to a new file that only its owner may read")
    build.add_argument("--steward", metavar="DIRECTORY", help="add the key to the policy of this Steward, as a secret")
    build.add_argument("--workload", metavar="NAME", help="the workload of the policy that the package is")
    build.add_argument("--simulated", action="store_true", help="release the key to guests of a simulator as well")
    build.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build what was asked for. The key is safe before the package appears, or neither exists."""
    from enarx.cli.packagefile import keep_rules, path_of
    from enarx.tenant.package.build import build
    from enarx.tenant.package.seal import new_key

    _check(args)
    target = path_of(args.output)
    apart = [path_of(args.key_file)] if args.key_file is not None else []
    key = new_key() if args.encrypt else None
    with build(path_of(args.source), target, keep_rules(), key=key, apart=apart) as package:
        notes = []
        if key is not None:
            notes = _keep_in_file(args, package, key) if apart else _keep_in_policy(args, package, key)
        else:
            package.publish()
    print(f"package      {target}, {package.size} bytes")
    print(f"digest       {package.digest}")
    print(f"media type   {package.media_type}")
    for note in notes:
        print(note)
    return 0


def _check(args: argparse.Namespace) -> None:
    from enarx.errors import UsageError

    if not args.encrypt and (args.key_file or args.steward or args.workload or args.simulated):
        raise UsageError(
            "--key-file, --steward, --workload and --simulated are for encrypted packages", hint="add --encrypt"
        )
    if args.encrypt and (args.key_file is None) is (args.steward is None):
        raise UsageError(
            "an encrypted package needs one place for its key",
            hint="give --key-file KEY, or --steward DIRECTORY --workload NAME",
        )
    if (args.steward is None) is not (args.workload is None) or (args.simulated and args.steward is None):
        raise UsageError(
            "--steward, --workload and --simulated belong together", hint="give --steward DIRECTORY --workload NAME"
        )


def _keep_in_file(args: argparse.Namespace, package: Built, key: bytes) -> list[str]:
    from enarx.cli.keyfile import write_private

    write_private(args.key_file, key)
    try:
        package.publish()
    except BaseException:
        Path(args.key_file).unlink(missing_ok=True)  # of a package that nobody will ever see
        raise
    return [f"key          {args.key_file}", f"key id       {(package.key_id or b'').hex()}"]


def _keep_in_policy(args: argparse.Namespace, package: Built, key: bytes) -> list[str]:
    from enarx.cli.packagefile import path_of
    from enarx.tenant.package.release import release_key

    policy = path_of(args.steward) / STEWARD_CONFIG
    release = release_key(policy, package, key, args.workload, simulated=args.simulated)
    package.publish()
    notes = [
        f"key          secret {release.secret} of {policy}, released to {args.workload}",
        f"key id       {(package.key_id or b'').hex()}",
    ]
    if release.added_workload:
        notes.append(f"workload     {args.workload} was added to the policy, and is this package alone")
    if release.to_do:
        notes.append(f"to do        {release.to_do}")
    notes.append("             reload the Steward with SIGHUP")
    return notes
