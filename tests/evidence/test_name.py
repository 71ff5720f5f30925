"""Distinguished names as text."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence import der
from enarx.evidence.name import NAME_MAX_ATTRIBUTES, NAME_MAX_BYTES, common_name, distinguished_name
from enarx.evidence.snp.roots import amd_name

ORGANIZATION = der.encode_oid("2.5.4.10")
KINDS = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.LOCALITY_NAME, NameOID.STATE_OR_PROVINCE_NAME)


def relative(oid: str, value: bytes) -> bytes:
    return der.encode(der.SET, der.encode(der.SEQUENCE, der.encode(der.OID, der.encode_oid(oid)) + value))


def test_amds_names_are_written_as_rfc_4514_says() -> None:
    name = amd_name("SEV-VCEK")
    assert common_name(name) == "SEV-VCEK"
    assert distinguished_name(name) == "CN=SEV-VCEK,O=Advanced Micro Devices,ST=CA,L=Santa Clara,C=US,OU=Engineering"


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.from_regex(r"[a-zA-Z0-9,+;=<>\"]{1,20}", fullmatch=True))))
def test_names_read_as_cryptography_writes_them(parts: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    theirs = x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])
    assert distinguished_name(theirs.public_bytes()) == theirs.rfc4514_string().replace("\\00", "")
    names = [text for kind, text in parts if kind == NameOID.COMMON_NAME]
    assert common_name(theirs.public_bytes()) == (names[-1] if names else "")


def test_attributes_and_values_of_unknown_kind_stay_visible() -> None:
    unknown = relative("1.2.3.4", der.encode(der.UTF8_STRING, b"x"))
    number = relative("2.5.4.3", der.encode(der.INTEGER, b"\1"))
    name = der.encode(der.SEQUENCE, unknown + number)
    assert distinguished_name(name) == "CN=#,1.2.3.4=x"
    assert common_name(name) == ""


def test_control_characters_do_not_reach_a_terminal() -> None:
    name = der.encode(der.SEQUENCE, relative("2.5.4.3", der.encode(der.UTF8_STRING, b"a\x1b[2J\nb")))
    assert distinguished_name(name) == "CN=a\\?[2J\\?b"
    assert common_name(name) == "a?[2J?b"


@pytest.mark.parametrize(
    "name",
    [
        b"",
        der.encode(der.SEQUENCE, b"\x31\x05"),
        der.encode(der.SEQUENCE, relative("2.5.4.3", der.encode(der.UTF8_STRING, b"\xff"))),
        der.encode(der.SEQUENCE, relative("2.5.4.3", der.encode(der.UTF8_STRING, b"x")) * (NAME_MAX_ATTRIBUTES + 1)),
        der.encode(der.SEQUENCE, bytes(NAME_MAX_BYTES)),
    ],
)
def test_broken_names_are_refused(name: bytes) -> None:
    for read in (common_name, distinguished_name):
        with pytest.raises(MalformedError):
            read(name)


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_but_our_errors(data: bytes) -> None:
    for read in (common_name, distinguished_name):
        try:
            assert isinstance(read(data), str)
        except MalformedError:
            continue
