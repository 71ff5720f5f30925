"""``enarx package inspect``: what a package is, holds, and lets its workload do."""

from __future__ import annotations

import argparse

from enarx.cli.packageregistry import add_registry_options, add_require_digest


def add_parsers(modes: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``inspect``."""
    inspect = modes.add_parser(
        "inspect", help="what is in a package, and what its workload will be allowed to do",
        epilog="Exit status: 0 also for a package that no Keep would run, and the text says so; 3 for what is no "
        "package, 4 for one that was changed or that the key does not open.",
    )  # fmt: skip
    inspect.add_argument(
        "package", metavar="FILE|REF", help="a package, encrypted or not, or a module: a file, oci://... or https://..."
    )
    inspect.add_argument("--key-file", metavar="KEY", help="the key of an encrypted package, to look into it")
    inspect.add_argument("--json", action="store_true", help="for machines")
    add_require_digest(inspect)
    add_registry_options(inspect)
    inspect.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is known of the package; 0, or EnarxError when it is none."""
    import json

    from enarx.cli import packageview
    from enarx.cli.packagefile import find, keep_rules, read_key
    from enarx.tenant.package.inspect import inspect
    from enarx.tenant.package.reader import open_package
    from enarx.tenant.signature.claims import claim_of
    from enarx.tenant.signature.statement import Statement

    key = read_key(args.key_file)
    found = find(args)
    with open_package(found.path, key) as package:
        facts = inspect(package, keep_rules()) if package.entries is not None else None
    statement = Statement(package.digest, package.media_type)
    claims = [claim_of(data, statement) for data in found.signatures]
    if args.json:
        print(json.dumps(packageview.fields(package, facts, claims), indent=2))
    else:
        print(packageview.text(found.name, package, facts, claims))
    return 0
