"""``enarx sign``: a signature file for a launch, which binds it to the keys of its owner."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from enarx.cli.measure import add_snp_arguments, parse_hex, parse_number
from enarx.errors import UsageError

if TYPE_CHECKING:
    from enarx.evidence.snp.idblock import Endorsement, IdAuth, IdBlock

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add ``sign``."""
    parser = subparsers.add_parser("sign", help="sign what a Keep is launched from")
    parser.add_argument("binary", metavar="BINARY", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--sev-id-key", metavar="KEY", help="private ID key, PEM")
    author = parser.add_mutually_exclusive_group()
    author.add_argument("--sev-id-key-signature", metavar="FILE", help="an author's signature of the ID key")
    author.add_argument("--sev-author-key", metavar="KEY", help="private author key, PEM, to sign the ID key here")
    parser.add_argument("--sgx-key", metavar="KEY", help=argparse.SUPPRESS)
    parser.add_argument("--out", metavar="FILE", help="write the signature to FILE (default: stdout)")
    parser.add_argument(
        "--output-format",
        choices=["json", "qemu"],
        default="json",
        help="a signature file (default), or properties of QEMU's sev-snp-guest object and the key digests",
    )
    block = parser.add_argument_group("ID block")
    block.add_argument("--launch-digest", metavar="HEX", type=partial(parse_hex, size=48), help="the digest to sign")
    block.add_argument("--family-id", metavar="HEX", type=partial(parse_hex, size=16), default=bytes(16))
    block.add_argument("--image-id", metavar="HEX", type=partial(parse_hex, size=16), default=bytes(16))
    block.add_argument("--guest-svn", metavar="N", type=parse_number, default=0)
    block.add_argument("--policy", metavar="BITS", type=parse_number, help="guest policy (default: 0x30000)")
    add_snp_arguments(parser, required=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the signature that the arguments ask for; returns the exit status."""
    from enarx.cli.keyfile import load_private_key, write_output
    from enarx.evidence.snp.idblock import DEFAULT_POLICY, IdBlock, authorize

    _check_supported(args)
    id_key = load_private_key(args.sev_id_key)
    endorsement = _endorsement(args)
    block = IdBlock(
        _launch_digest(args),
        args.family_id,
        args.image_id,
        args.guest_svn,
        DEFAULT_POLICY if args.policy is None else args.policy,
    )
    auth = authorize(block, id_key, endorsement)
    text = signature_file(block, auth) if args.output_format == "json" else qemu_properties(block, auth)
    write_output(args.out, text.encode())
    return 0


def signature_file(block: IdBlock, auth: IdAuth) -> str:
    """The JSON signature file: version, and the bytes of each structure as numbers."""
    import json

    from enarx import __version__

    sev = {"id_block": list(block.to_bytes()), "id_auth": list(auth.to_bytes())}
    return json.dumps({"version": __version__, "sev": sev, "sgx": []})


def qemu_properties(block: IdBlock, auth: IdAuth) -> str:
    """The properties for QEMU in one line, then the key digests for a policy, in the form of snp-create-id-block."""
    from base64 import b64encode
    from hashlib import sha384

    lines = [
        f"id-block={b64encode(block.to_bytes()).decode()},id-auth={b64encode(auth.to_bytes()).decode()}",
        f"id_key_hash: {b64encode(sha384(auth.id_key).digest()).decode()}",
    ]
    if auth.endorsement is not None:
        lines.append(f"author_key: {b64encode(sha384(auth.endorsement.author_key).digest()).decode()}")
    return "\n".join(lines) + "\n"


def _check_supported(args: argparse.Namespace) -> None:
    if args.sgx_key is not None:
        raise UsageError(
            "signing for SGX is not supported", code="sign-sgx", hint="leave out --sgx-key; SEV-SNP can be signed"
        )
    if args.binary is not None:
        raise UsageError(
            "a binary alone is not what a Keep is launched from",
            code="sign-binary",
            hint="give --ovmf, --kernel, --initrd and --append of the launch, or its --launch-digest",
        )
    if args.sev_id_key is None:
        raise UsageError(
            "no key to sign with", code="sign-key", hint="give --sev-id-key; make one with: enarx key sev create"
        )


def _launch_digest(args: argparse.Namespace) -> bytes:
    from enarx.cli.launchmeasure import MEASURES

    if (args.launch_digest is None) == (args.ovmf is None):
        raise UsageError(
            "the launch to sign must be given in one way",
            code="sign-launch",
            hint="give --launch-digest, or --ovmf with the other arguments of enarx measure snp",
        )
    if args.ovmf is None:
        digest: bytes = args.launch_digest
        return digest
    if args.vcpus is None:
        raise UsageError("the number of vCPUs is not given", code="vcpu-count", hint="give --vcpus")
    return MEASURES["snp"](args).digest


def _endorsement(args: argparse.Namespace) -> Endorsement | None:
    from enarx.cli.keyfile import load_private_key, load_public_key, read_input
    from enarx.evidence.snp.idblock import ENDORSEMENT_BYTES, Endorsement, endorse

    if args.sev_author_key is not None:
        return endorse(load_private_key(args.sev_author_key), load_public_key(args.sev_id_key))
    if args.sev_id_key_signature is not None:
        return Endorsement.from_bytes(read_input(args.sev_id_key_signature, ENDORSEMENT_BYTES, "ID key signature"))
    return None
