"""A simulator's keys and certificates: of AMD's format, its own names, and nobody else's to read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from enarx.errors import AuthenticityError, HostError
from enarx.evidence import der
from enarx.evidence.bundle import split_certificates
from enarx.evidence.certificate import Certificate, parse_certificate, parse_crl
from enarx.evidence.name import common_name
from enarx.evidence.signature import RsaKey, Scheme
from enarx.evidence.snp import AMD, Collateral, Trust
from enarx.evidence.snp.keychain import verify_chain
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.roots import AMD_ROOTS
from enarx.simulator.certificates import ASK_SERIAL, VCEK_SERIAL
from enarx.simulator.installation import CRL_LIFE, VCEK_LIFE, Installation, open_installation
from enarx.simulator.platform import PLATFORMS
from enarx.simulator.store import default_directory

TCB = PLATFORMS[Product.MILAN].tcb

CREATE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from enarx.simulator.installation import open_installation
made = open_installation(Path(sys.argv[1]), datetime(2026, 6, 1, tzinfo=UTC), progress=lambda line: print("made"))
print(made.fingerprint, made.vcek(bytes(8), datetime(2026, 6, 1, tzinfo=UTC))[:0])
"""


def extensions(certificate: Certificate) -> list[tuple[str, bool]]:
    """Object identifiers and criticality, in the order of the certificate."""
    return [(der.dotted_oid(oid), one.critical) for oid, one in certificate.extensions.items()]


def algorithm(encoded: bytes) -> bytes:
    """The signature algorithm, parameters included, as the outer part of a certificate or list has it."""
    whole = der.only(encoded, der.SEQUENCE, len(encoded))
    tbs = der.expect(encoded, whole.start, whole.stop, der.SEQUENCE)
    found = der.expect(encoded, tbs.stop, whole.stop, der.SEQUENCE)
    return encoded[found.head : found.stop]


def name_shape(name: bytes) -> list[tuple[str, int]]:
    """Attribute types and string types of a distinguished name, in order."""
    shape = []
    whole = der.only(name, der.SEQUENCE, len(name))
    at = whole.start
    while at < whole.stop:
        group = der.expect(name, at, whole.stop, der.SET)
        pair = der.expect(name, group.start, group.stop, der.SEQUENCE)
        kind = der.expect(name, pair.start, pair.stop, der.OID)
        shape.append((der.dotted_oid(name[kind.start : kind.stop]), der.element(name, kind.stop, pair.stop).tag))
        at = group.stop
    return shape


def test_authorities_have_amds_format(installation: Installation, vectors: Path) -> None:
    published = split_certificates((vectors / "snp/trust/ask-ark-milan.pem").read_bytes())
    for ours, amds in zip((installation.ask, installation.ark), published, strict=True):
        made, real = parse_certificate(ours), parse_certificate(amds)
        assert extensions(made) == extensions(real)
        assert algorithm(ours) == algorithm(amds)
        assert (made.serial, made.scheme) == (real.serial, Scheme.RSA_PSS_SHA384)
        assert isinstance(made.key, RsaKey)
        assert (made.key.modulus.bit_length(), made.key.exponent) == (4096, 65537)
        assert name_shape(made.subject) == name_shape(real.subject)
        for oid in ("2.5.29.19", "2.5.29.15"):
            assert made.extensions[der.encode_oid(oid)] == real.extensions[der.encode_oid(oid)]


@pytest.mark.parametrize(
    ("product", "file"),
    [(Product.MILAN, "milan-v3-msft"), (Product.GENOA, "genoa-v5-oak"), (Product.TURIN, "turin-v5-msft")],
)
def test_vcek_has_amds_format(
    product: Product, file: str, vectors: Path, installation: Installation, tmp_path: Path, now: datetime
) -> None:
    real = parse_certificate((vectors / f"snp/{file}.vcek.der").read_bytes())
    chip = installation if product is Product.MILAN else open_installation(tmp_path / "s", now, product=product)
    made = parse_certificate(chip.vcek(PLATFORMS[product].tcb, now))
    assert extensions(made) == extensions(real)
    assert algorithm(made.encoded) == algorithm(real.encoded)
    assert (made.serial, made.scheme) == (real.serial, real.scheme)
    assert name_shape(made.subject) == name_shape(real.subject)
    assert common_name(made.subject) == common_name(real.subject)
    for oid in ("1.3.6.1.4.1.3704.1.1", "1.3.6.1.4.1.3704.1.2"):
        assert made.extensions[der.encode_oid(oid)] == real.extensions[der.encode_oid(oid)]
    hardware_id = der.encode_oid("1.3.6.1.4.1.3704.1.4")
    assert len(made.extensions[hardware_id].value) == len(real.extensions[hardware_id].value)


def test_revocation_list_has_amds_format(installation: Installation, vectors: Path, now: datetime) -> None:
    real = x509.load_der_x509_crl((vectors / "snp/trust/crl-milan-2022.der").read_bytes())
    ours = installation.crl(now)
    made = x509.load_der_x509_crl(ours)
    assert [(one.oid, one.critical) for one in made.extensions] == [(one.oid, one.critical) for one in real.extensions]
    assert algorithm(ours) == algorithm((vectors / "snp/trust/crl-milan-2022.der").read_bytes())
    assert not list(made)


def test_every_name_says_simulated(installation: Installation, now: datetime) -> None:
    vcek = parse_certificate(installation.vcek(TCB, now))
    for encoded in (installation.ark, installation.ask, vcek.encoded):
        assert b"SIMULATED" in parse_certificate(encoded).subject
        assert b"Micro Devices" not in encoded
    assert common_name(parse_certificate(installation.ark).subject).startswith("SIMULATED ARK-Milan ")
    assert b"SIMULATED" in parse_crl(installation.crl(now)).issuer


def test_cryptography_agrees_with_the_chain(installation: Installation) -> None:
    ark = x509.load_der_x509_certificate(installation.ark)
    ask = x509.load_der_x509_certificate(installation.ask)
    ark.verify_directly_issued_by(ark)
    ask.verify_directly_issued_by(ark)
    key = ask.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    assert ask.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value == identifier
    authority = ask.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    ark_identifier = ark.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert authority.key_identifier == ark_identifier.digest


def test_chain_verifies_under_its_root_and_not_under_amds(
    installation: Installation, trust: Trust, now: datetime
) -> None:
    given = installation.endorse(TCB, now)
    collateral = Collateral(given.vcek, (given.ask, given.ark), (given.crl,))
    at = int(now.timestamp())
    chain = verify_chain(collateral, at, trust, require_crl=True)
    assert chain.root.simulated
    assert chain.revocation_checked
    for offered in (collateral, replace(collateral, chain=())):
        with pytest.raises(AuthenticityError) as caught:
            verify_chain(offered, at, AMD)
        assert caught.value.code == "untrusted-chain"


@pytest.mark.parametrize("serial", [VCEK_SERIAL, ASK_SERIAL])
def test_revocation_on_demand_is_refused(installation: Installation, trust: Trust, now: datetime, serial: int) -> None:
    given = installation.endorse(TCB, now)
    collateral = Collateral(given.vcek, (given.ask, given.ark), (installation.sign_crl((serial,), now),))
    with pytest.raises(AuthenticityError) as caught:
        verify_chain(collateral, int(now.timestamp()), trust)
    assert caught.value.code == "certificate-revoked"
    assert installation.crl(now) == given.crl


def test_same_chip_after_a_restart_and_another_key_for_another_tcb(
    installation: Installation, directory: Path, now: datetime
) -> None:
    again = open_installation(directory, now)
    assert again.chip_id == installation.chip_id
    assert len(again.chip_id) == 64
    assert again.fingerprint == installation.fingerprint
    key, same, older = again.vcek_key(TCB), installation.vcek_key(TCB), again.vcek_key(bytes(8))
    assert key.private_numbers() == same.private_numbers()
    assert key.private_numbers() != older.private_numbers()
    assert isinstance(key.curve, ec.SECP384R1)
    assert again.vcek(TCB, now) == again.vcek(TCB, now) != again.vcek(bytes(8), now)


def test_certificate_and_list_are_renewed_before_they_end(directory: Path, now: datetime) -> None:
    installation = open_installation(directory, now)
    vcek, crl = installation.vcek(TCB, now), installation.crl(now)
    assert installation.crl(now + timedelta(days=1)) == crl
    later = now + CRL_LIFE - timedelta(days=1)
    assert parse_crl(installation.crl(later)).next_update > (later + timedelta(days=300)).timestamp()
    assert installation.vcek(TCB, later) == vcek
    much_later = now + VCEK_LIFE - timedelta(days=1)
    assert parse_certificate(installation.vcek(TCB, much_later)).not_after > much_later.timestamp() + 86400


def test_two_installations_share_nothing(installation: Installation, tmp_path: Path, now: datetime) -> None:
    other = open_installation(tmp_path / "other", now)
    assert other.name != installation.name
    assert other.fingerprint != installation.fingerprint
    assert other.chip_id != installation.chip_id


def test_starts_that_meet_make_one_installation(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CREATE, str(tmp_path / "simulator")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [process.communicate(timeout=240)[0].split() for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert sum(output.count("made") for output in outputs) == 1
    assert len({next(word for word in output if len(word) == 64) for output in outputs}) == 1
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"simulator", ".simulator.lock"}


def test_keys_are_readable_by_their_owner_alone(installation: Installation) -> None:
    assert stat.S_IMODE(installation.directory.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in installation.directory.iterdir()}
    assert {"ark.key", "ask.key", "chip.secret"} <= modes.keys()
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("name", ["chip.secret", "ark.der", "ask.der"])
def test_exposed_or_damaged_installation_is_refused(directory: Path, now: datetime, name: str) -> None:
    path = directory / name

    def refusal() -> str:
        with pytest.raises(HostError) as caught:
            open_installation(directory, now)
        assert caught.value.hint
        return caught.value.code

    path.chmod(0o644)
    assert refusal() == "simulator-permissions"
    path.chmod(0o600)
    path.write_bytes(b"0")
    assert refusal() == "simulator-broken"
    path.unlink()
    assert refusal() == "simulator-broken"


@pytest.mark.parametrize("content", [b"", b"no key at all", None], ids=["empty", "text", "EC"])
def test_damaged_key_is_refused_when_it_is_needed(directory: Path, now: datetime, content: bytes | None) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    other = ec.generate_private_key(ec.SECP384R1())
    der_key = other.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    (directory / "ask.key").write_bytes(der_key if content is None else content)
    with pytest.raises(HostError) as caught:
        open_installation(directory, now).vcek(bytes([1] * 8), now)
    assert caught.value.code == "simulator-broken"


def test_root_of_amd_in_the_directory_is_no_simulator(directory: Path, vectors: Path, now: datetime) -> None:
    (directory / "ark.der").write_bytes(split_certificates((vectors / "snp/trust/ask-ark-milan.pem").read_bytes())[1])
    with pytest.raises(HostError) as caught:
        open_installation(directory, now)
    assert caught.value.code == "simulator-broken"


def test_progress_is_told_once_and_in_words(tmp_path: Path, now: datetime) -> None:
    told: list[str] = []
    for _ in range(2):
        open_installation(tmp_path / "simulator", now, progress=told.append)
    assert len(told) == 1
    assert "SIMULATED" in told[0]


def test_default_directory_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "enarx" / "simulator"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".local/share/enarx/simulator"


def test_default_trust_knows_no_simulator_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, installation: Installation
) -> None:
    """The variables that choose a directory choose whose simulator runs, never whom a verifier believes."""
    for name in ("XDG_DATA_HOME", "HOME", "ENARX_SIMULATOR", "ENARX_ROOTS", "ENARX_SIMULATED", "ENARX_TRUST"):
        monkeypatch.setenv(name, str(installation.directory.parent))
    assert Trust().roots == AMD_ROOTS
    assert not any(root.simulated for root in AMD_ROOTS)
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    asked = "from enarx.evidence.snp import Trust, AMD; print([r.ark.name for r in (*Trust().roots, *AMD.roots)])"
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert "SIMULATED" not in done.stdout
