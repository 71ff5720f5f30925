"""``enarx package digest`` and ``sbom``: what names a package, and what is in it for machines."""

from __future__ import annotations

import argparse


def add_parsers(modes: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``digest`` and ``sbom``."""
    digest = modes.add_parser("digest", help="print the digest that policies, registries and signatures name it by")
    digest.add_argument("file", metavar="FILE", help="a package, encrypted or not, or a module")
    digest.set_defaults(run=_digest)

    sbom = modes.add_parser(
        "sbom", help="a bill of materials, CycloneDX 1.6: the package, and the Keep of this installation",
        epilog="The same package and installation give the same bytes.",
    )  # fmt: skip
    sbom.add_argument("file", metavar="FILE", help="a package, encrypted or not, or a module")
    sbom.add_argument("-o", "--output", metavar="OUT", help="where it goes (default: standard output)")
    sbom.add_argument("--key-file", metavar="KEY", help="the key of an encrypted package, to list what is in it")
    sbom.set_defaults(run=_sbom)


def _digest(args: argparse.Namespace) -> int:
    from enarx.cli.packagefile import package_of
    from enarx.tenant.package.reader import open_package

    with open_package(package_of(args.file)) as package:
        digest = package.digest
    print(digest)
    return 0


def _sbom(args: argparse.Namespace) -> int:
    from enarx.bom import encode
    from enarx.cli.keyfile import write_output
    from enarx.cli.packagefile import package_of, read_key
    from enarx.tenant.package.reader import open_package
    from enarx.tenant.package.sbom import bill_of_materials

    with open_package(package_of(args.file), read_key(args.key_file)) as package:
        bill = encode(bill_of_materials(package))
    write_output(args.output, bill)
    return 0
