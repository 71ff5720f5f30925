"""``enarx package sign`` and ``verify``: detached signatures beside a package.

Exit statuses of ``verify``: 0 when enough of those who were named signed, 4 when not, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from enarx.errors import AuthenticityError, MalformedError, UsageError

if TYPE_CHECKING:
    from enarx.tenant.signature.bundle import Sigstore
    from enarx.tenant.signature.keys import PrivateKey
    from enarx.tenant.signature.signers import Signer
    from enarx.tenant.signature.statement import Statement

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

SUFFIX = ".sig"
"""Of the envelope beside a package."""
BUNDLE_SUFFIX = ".sigstore.json"
"""Of the sigstore bundle beside a package."""
READ_BYTES = 1 << 20
"""How much of a package is read at once (bytes)."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def add_parsers(modes: Subparsers) -> None:
    """Add ``sign`` and ``verify`` to the modes of ``enarx package``."""
    sign = modes.add_parser("sign", help="sign a package; the signature is a file beside it")
    _add_subject(sign)
    sign.add_argument("--key", metavar="KEY", required=True, help="private key of `enarx key package create`")
    sign.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help=f"the signature, added to those that are there (default: FILE{SUFFIX})",
    )
    _add_passphrase(sign)
    sign.set_defaults(run=_sign)

    verify = modes.add_parser(
        "verify",
        help="check who signed a package",
        epilog="exit status: 0 signed by enough of those who are named, 4 not so",
    )
    _add_subject(verify)
    verify.add_argument("--key", metavar="PUB", action="append", default=[], help="public key that may have signed")
    verify.add_argument(
        "--identity", metavar="WHO=ISSUER", action="append", default=[], help="sigstore identity that may have signed"
    )
    verify.add_argument("--trusted-root", metavar="FILE", help="trusted_root.json of the sigstore of the identities")
    verify.add_argument("--threshold", metavar="N", type=int, default=1, help="how many have to (default: 1)")
    verify.add_argument(
        "--signature",
        metavar="FILE",
        action="append",
        default=[],
        help=f"envelope or sigstore bundle (default: FILE{SUFFIX} and FILE{BUNDLE_SUFFIX}, what there is of them)",
    )
    verify.set_defaults(run=_verify)


def _add_subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", metavar="FILE|DIGEST", help="package or module, or its digest, sha256:...")
    parser.add_argument("--media-type", metavar="TYPE", help="what it is (default: what its first bytes say)")


def _add_passphrase(parser: argparse.ArgumentParser) -> None:
    from enarx.cli.packagekey import add_passphrase

    add_passphrase(parser)


def _sign(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import write_output
    from enarx.cli.packagekey import load_private

    statement = _statement(args)
    out = args.out or _beside(args.package, SUFFIX, "-o")
    key = load_private(args.key, args.passphrase_file)
    made = _signed(out, statement, key)
    if made is None:
        print(f"{out}: is signed by {key.public} already, {statement}")
        return 0
    write_output(out, made)
    print(f"{out}: signed by {key.public}, {statement}")
    return 0


def _signed(out: str, statement: Statement, key: PrivateKey) -> bytes | None:
    """The envelope in ``out`` with a signature of ``key``, or a new one; None when it has one already."""
    from pathlib import Path

    from enarx.cli.keyfile import read_input
    from enarx.tenant.signature import dsse
    from enarx.tenant.signature.statement import PAYLOAD_TYPE

    payload = statement.encode()
    message = dsse.pae(PAYLOAD_TYPE, payload)
    signature = dsse.Signature(key.sign(message), key.public.id)
    if not Path(out).exists():
        return dsse.Envelope(PAYLOAD_TYPE, payload, (signature,)).encode()
    there = read_input(out, dsse.ENVELOPE_MAX_BYTES, "signature")
    try:
        envelope = dsse.parse(there)
        if (envelope.payload_type, envelope.payload) != (PAYLOAD_TYPE, payload):
            raise UsageError(
                f"{out} is of another package", code="signature-other", hint="name another file with -o, or remove it"
            )
        if any(key.public.verify(one.sig, message) for one in envelope.signatures):
            return None
        return dsse.add(there, signature)
    except MalformedError as error:
        raise UsageError(
            f"{out}: {error.message}", code=error.code, hint="name another file with -o, or remove it"
        ) from error


def _verify(args: argparse.Namespace) -> int:
    from enarx.cli.packagekey import load_public
    from enarx.cli.policy import read_signatures
    from enarx.tenant.signature.signers import Presented, Signers

    statement = _statement(args)
    asked: dict[Signer, str] = {load_public(path): path for path in args.key}
    sigstore = _identities(args, asked)
    if not asked:
        raise UsageError("nobody is named who may have signed", hint="give --key PUB, or --identity and --trusted-root")
    if not 1 <= args.threshold <= len(asked):
        raise UsageError(f"--threshold {args.threshold} of {len(asked)} signers", hint="1 to as many as are named")
    presented = Presented(read_signatures(args.signature or _found_beside(args.package)), sigstore)
    verdict = presented.verdict(statement, asked)
    if not verdict.satisfies(Signers(tuple(asked), args.threshold)):
        raise AuthenticityError(
            f"{args.package}: {verdict}" if presented.objects else f"{args.package}: there is no signature",
            code="signature-mismatch" if presented.objects else "signature-missing",
            hint=f"{args.threshold} of {len(asked)} have to sign exactly {statement}",
        )
    for note in verdict.notes:
        print(f"not counted: {note}")
    for one in verdict.signed:
        print(f"{args.package}: signed by {asked[one]}, {one}")
    return 0


def _identities(args: argparse.Namespace, asked: dict[Signer, str]) -> Sigstore | None:
    """Add the identities that are named; returns what their bundles are verified with."""
    from enarx.cli.keyfile import read_input
    from enarx.tenant.signature.bundle import TRUSTED_ROOT_MAX_BYTES, Identity, Sigstore

    if bool(args.identity) is not (args.trusted_root is not None):
        raise UsageError(
            "identities and a trusted root go together", hint="give --identity WHO=https://ISSUER and --trusted-root"
        )
    for text in args.identity:
        who, _, issuer = text.rpartition("=https://")
        if not who or not issuer:
            raise UsageError(f"--identity {text!r} is not WHO=https://ISSUER", hint="write both as the certificate has")
        asked[Identity(who, f"https://{issuer}")] = text
    if args.trusted_root is None:
        return None
    return Sigstore(read_input(args.trusted_root, TRUSTED_ROOT_MAX_BYTES, "trusted root"))


def _statement(args: argparse.Namespace) -> Statement:
    """What is signed: the digest of the file, or the one that was given, and its media type; UsageError."""
    from enarx.tenant.signature.statement import Statement

    if _DIGEST.fullmatch(args.package):
        digest, sniffed = args.package, None
    else:
        digest, sniffed = _look_at(args.package)
    kind = args.media_type or sniffed
    if kind is None:
        raise UsageError(
            f"it is not known what {args.package} is",
            code="media-type",
            hint="give --media-type; files of wasm modules and packages say it themselves",
        )
    try:
        return Statement(digest, kind)
    except MalformedError as error:
        raise UsageError(error.message, code="media-type", hint="write it in lower case, as manifests do") from error


def _look_at(path: str) -> tuple[str, str | None]:
    """Digest and media type of a file, which is read in pieces."""
    import hashlib
    import os
    import stat

    from enarx.mediatype import HEAD_BYTES, media_type_of

    digest = hashlib.sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would hang
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("it is not a file")
            head = file.read(HEAD_BYTES)
            digest.update(head)
            while piece := file.read(READ_BYTES):
                digest.update(piece)
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"cannot read the package {path}: {cause}",
            code="file-unreadable",
            hint="name a file, or a digest as sha256: and 64 hexadecimal digits",
        ) from error
    return f"sha256:{digest.hexdigest()}", media_type_of(head)


def _beside(package: str, suffix: str, option: str) -> str:
    if _DIGEST.fullmatch(package):
        hint = f"name the signature with {option}"
        raise UsageError("a digest has no file beside it", code="signature-file", hint=hint)
    return package + suffix


def _found_beside(package: str) -> list[str]:
    from pathlib import Path

    places = [_beside(package, suffix, "--signature") for suffix in (SUFFIX, BUNDLE_SUFFIX)]
    return [place for place in places if Path(place).exists()]
