"""Enarx.toml: schema, positions, hints, bounds."""

from __future__ import annotations

import datetime
import re
import string
import tomllib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from enarx.cli.config import TEMPLATE
from enarx.config import (
    MAX_CA_ENTRIES,
    MAX_CONFIG_BYTES,
    MAX_PEM_BYTES,
    MAX_SECRET_ENV,
    Config,
    ConnectFile,
    File,
    Limits,
    ListenFile,
    NullFile,
    Protocol,
    StdioFile,
    environment,
    fd_names,
    parse,
    pem_of,
)
from enarx.errors import ConfigError
from enarx.toml_document import MAX_DEPTH, MAX_SCALAR_CHARS, MAX_VALUES, Scanner

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
STDIN, STDOUT, STDERR = (StdioFile("stdin", "stdin"), StdioFile("stdout", "stdout"), StdioFile("stderr", "stderr"))
SIZE = 'an integer (bytes) or a string such as "512 MiB"'
SPAN = 'a number (seconds) or a string such as "30s"'
STDIO = """
[[files]]
kind = "stdin"

[[files]]
kind = "stdout"

[[files]]
kind = "stderr"
"""


def refused(text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value).startswith("Enarx.toml:")
    return caught.value


def connect(**keys: str) -> str:
    lines = {"kind": '"connect"', "host": '"example.com"'} | keys
    return "[[files]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def listen(**keys: str) -> str:
    lines = {"kind": '"listen"', "name": '"web"'} | keys
    return "[[files]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


@pytest.fixture(scope="module")
def pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


# ---- published examples ----


def test_steward_in_a_keep() -> None:
    text = STDIO + '\n[[files]]\nkind = "listen"\nprot = "tcp"\nport = 8443\nname = "ingest"\n'
    assert parse(text).files == (STDIN, STDOUT, STDERR, ListenFile("ingest", Protocol.TCP, port=8443))


def test_chat_server() -> None:
    text = STDIO + '\n[[files]]\nname = "ingest"\nkind = "listen"\nport = 50000\nprot = "tcp"\n'
    assert parse(text).files[3] == ListenFile("ingest", Protocol.TCP, addr="::", port=50000)


def test_fibonacci_arguments() -> None:
    assert parse('args = ["7", "21"]\n' + STDIO) == Config(args=("7", "21"), files=(STDIN, STDOUT, STDERR))


def test_http_server_with_a_steward() -> None:
    text = f"""steward = "https://attest.profian.com"
{STDIO}
[[files]]
kind = "listen"
name = "TCP_LISTEN"
port = 10020
prot = "tcp"
"""
    config = parse(text)
    assert config.steward == "https://attest.profian.com"
    assert config.files[3] == ListenFile("TCP_LISTEN", Protocol.TCP, port=10020)


def test_tcp_client() -> None:
    text = STDIO + '\n[[files]]\nname = "CONNECT"\nkind = "connect"\nprot = "tcp"\nhost = "127.0.0.1"\nport = 10010\n'
    assert parse(text).files[3] == ConnectFile("CONNECT", Protocol.TCP, "127.0.0.1", 10010)


def test_echo_servers() -> None:
    mio = STDIO + '\n[[files]]\nkind = "listen"\nname = "TEST_TCP_LISTEN"\nport = 10000\nprot = "tcp"\n'
    assert fd_names(parse(mio)) == "stdin:stdout:stderr:TEST_TCP_LISTEN"
    tokio = STDIO + '\n[[files]]\nkind = "listen"\nname = "LISTEN"\nport = 10010\nprot = "tcp"\n# prot = "tls"\n'
    assert parse(tokio).files[3] == ListenFile("LISTEN", Protocol.TCP, port=10010)


def test_chat_client_is_refused_for_its_stray_host() -> None:
    text = f"""{STDIO}
[[files]]
kind = "connect"
name = "server"
prot = "tcp"
host = "127.0.0.1"
port = 50000

[[files]]
kind = "listen"
name = "web"
prot = "tcp"
host = "127.0.0.1"
port = 50010
"""
    error = refused(text)
    line = text[: text.rindex("host")].count("\n") + 1
    assert error.message == f'Enarx.toml:{line}:1: unknown key "host" in [[files]] of kind "listen"'
    assert error.code == "config-unknown-key"
    assert 'did you mean "addr"?' in error.hint
    assert parse(text.replace('host = "127.0.0.1"\nport = 50010', "port = 50010")).files[4].name == "web"


def test_wasm_example_has_stdio_only() -> None:
    assert parse(STDIO) == Config.default()


def test_documentation_example() -> None:
    config = parse(
        """
[[files]]
kind = "null"

[[files]]
kind = "stdout"

[[files]]
kind = "stderr"

[[files]]
name = "listen"
kind = "listen"
prot = "tls"
port = 12345

[[files]]
name = "connect"
kind = "connect"
prot = "tcp"
host = "127.0.0.1"
port = 23456

[env]
LANG = "C"
"""
    )
    assert environment(config) == [
        ("FD_COUNT", "5"),
        ("FD_NAMES", "null:stdout:stderr:listen:connect"),
        ("LANG", "C"),
    ]


# ---- no files: three cases ----


def test_no_config_at_all_means_stdio() -> None:
    assert Config.default().files == (STDIN, STDOUT, STDERR)
    assert environment(Config.default()) == [("FD_COUNT", "3"), ("FD_NAMES", "stdin:stdout:stderr")]


@pytest.mark.parametrize("text", ["", 'args = ["a"]', "files = []", "# only a comment"])
def test_config_without_files_means_no_descriptors(text: str) -> None:
    assert parse(text).files == ()
    assert environment(parse(text)) == [("FD_COUNT", "0"), ("FD_NAMES", "")]


def test_config_with_files_means_exactly_those_in_order() -> None:
    text = '[[files]]\nkind = "stderr"\n[[files]]\nkind = "null"\n[[files]]\nkind = "stderr"\nname = "log"\n'
    assert parse(text).files == (STDERR, NullFile("null"), StdioFile("stderr", "log"))


# ---- defaults, names, ports ----


def test_prot_defaults_to_tls_and_port_follows_prot() -> None:
    for entry in (listen, connect):
        files = [parse(entry(**keys)).files[0] for keys in ({}, {"prot": '"tls"'}, {"prot": '"tcp"'})]
        assert all(isinstance(file, ListenFile | ConnectFile) for file in files)
        assert [(f.prot, f.port) for f in files if isinstance(f, ListenFile | ConnectFile)] == [
            (Protocol.TLS, 443),
            (Protocol.TLS, 443),
            (Protocol.TCP, 80),
        ]


def test_connect_is_named_after_its_host() -> None:
    assert parse(connect()).files[0].name == "example.com"


def test_names_may_repeat_and_be_empty() -> None:
    text = (
        '[[files]]\nkind = "null"\nname = "x"\n[[files]]\nkind = "stdin"\nname = "x"\n[[files]]\nkind="null"\nname=""\n'
    )
    assert fd_names(parse(text)) == "x:x:"


def test_inline_tables_are_files_too() -> None:
    assert parse('files = [{kind = "null"}, {kind = "stdin", name = "in"}]').files == (
        NullFile("null"),
        StdioFile("stdin", "in"),
    )
    assert refused('files = [{kind = "null"},\n {kind = "stdin", name = "a:b"}]').message.startswith(
        "Enarx.toml:2:26: "
    )


def test_listen_needs_a_name() -> None:
    error = refused('\n[[files]]\nkind = "listen"\nport = 1\n')
    assert error.message == 'Enarx.toml:2:1: files[0] has no "name", which kind "listen" needs'
    assert error.code == "config-missing-key"


def test_connect_needs_a_host() -> None:
    assert (
        refused('[[files]]\nkind = "connect"\n').message
        == 'Enarx.toml:1:1: files[0] has no "host", which kind "connect" needs'
    )


@pytest.mark.parametrize("kind", ["null", "stdin", "stdout", "stderr", "listen", "connect"])
def test_colon_in_a_name_is_refused(kind: str) -> None:
    more = 'host = "h"\n' if kind == "connect" else ""
    error = refused(f'[[files]]\nkind = "{kind}"\n{more}name = "te:st"\n')
    line = 4 if more else 3
    assert error.message == f"Enarx.toml:{line}:8: file name must not contain ':' for key `files`"
    assert error.code == "config-name"


def test_ipv6_host_needs_a_name_of_its_own() -> None:
    error = refused(connect(host='"::1"'))
    assert error.message == "Enarx.toml:3:8: file name must not contain ':' for key `files`"
    assert "name" in error.hint
    assert parse(connect(host='"::1"', name='"v6"')).files[0] == ConnectFile("v6", Protocol.TLS, "::1", 443)


@pytest.mark.parametrize("port", ["-1", "65536", "true", "1.0", '"443"', "1979-05-27", "[443]", "9" * 90])
def test_port_outside_u16_or_of_another_type_is_refused(port: str) -> None:
    for entry in (listen, connect):
        error = refused(entry(port=port))
        assert error.message.startswith("Enarx.toml:4:8: files[0].port ")
        assert error.code in ("config-type", "config-value")


def test_port_bounds() -> None:
    assert parse(listen(port="0") + listen(port="65535") + connect(port="1"))
    assert refused(connect(port="0")).hint == "it must be from 1 to 65535"


@pytest.mark.parametrize("host", ['""', '"a b"', '"a\\u0000"', '"a\\n"', '"\\u001b[2J"', f'"{"a" * 256}"'])
def test_implausible_host_is_refused_without_echoing_control_characters(host: str) -> None:
    for text in (connect(host=host), listen(addr=host)):
        assert refused(text).message.isprintable()


# ---- unknown keys ----


@pytest.mark.parametrize(
    ("text", "where", "key", "hint"),
    [
        ("\nstewrd = 1", "2:1", "stewrd", 'did you mean "steward"?'),
        ("[limts]\nmemory = 1", "1:1", "limts", 'did you mean "limits"?'),
        ("[[file]]\nkind = 'null'", "1:1", "file", 'did you mean "files"?'),
        ("[Env]", "1:1", "Env", 'did you mean "env"?'),
        ("zzzz = 1", "1:1", "zzzz", "valid keys: steward, args, files, env, secret_env, limits"),
        ("[secretenv]", "1:1", "secretenv", 'did you mean "secret_env"?'),
        ("[secrets]", "1:1", "secrets", 'did you mean "secret_env"?'),
        ("[limits]\nmemory = 65536\n  memroy = 1", "3:3", "memroy", 'did you mean "memory"?'),
        ("[[files]]\nkind = 'null'\nport = 1", "3:1", "port", "valid keys: kind, name"),
        ("[[files]]\nkind = 'stdin'\nnmae = 'x'", "3:1", "nmae", 'did you mean "name"?'),
        ("[[files]]\nknid = 'stdin'", "2:1", "knid", 'did you mean "kind"?'),
        ("[[files]]\nkind = 'null'\n[files.deep]\nx = 1", "3:1", "deep", "valid keys: kind, name"),
        (connect(addr="'::'"), "4:1", "addr", '"addr" belongs to the other kind of socket; did you mean "host"?'),
        (connect(client_ca="[]"), "4:1", "client_ca", 'did you mean "ca"?'),
        (listen(host="'::'"), "4:1", "host", 'did you mean "addr"?'),
        (listen(ca="[]"), "4:1", "ca", 'did you mean "client_ca"?'),
        (listen(prto="'tcp'"), "4:1", "prto", 'did you mean "prot"?'),
        ('"st\\u0065ward2" = 1', "1:1", "steward2", 'did you mean "steward"?'),
        ("args = []\r\n\r\nlimit = 1\r\n", "3:1", "limit", 'did you mean "limits"?'),
    ],
)
def test_unknown_key_is_named_with_line_and_nearest(text: str, where: str, key: str, hint: str) -> None:
    error = refused(text)
    assert error.message.startswith(f'Enarx.toml:{where}: unknown key "{key}"')
    assert error.code == "config-unknown-key"
    assert error.hint.endswith(hint)


def test_unknown_key_in_the_last_of_many_files_has_its_own_line() -> None:
    assert refused(STDIO * 3 + 'color = "red"\n').message.startswith("Enarx.toml:28:1: ")


def test_long_or_unprintable_key_is_shown_short() -> None:
    assert len(refused("x" * 100_000 + " = 1").message) < 120
    assert refused('"\\u001b[31m" = 1').message == 'Enarx.toml:1:1: unknown key "\\u001b[31m"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[files]]\nname = 'x'", '1:1: files[0] has no "kind"'),
        ("[[files]]\nkind = 'lisen'", '2:8: files[0].kind cannot be "lisen"'),
        (listen(prot="'udp'"), '4:8: files[0].prot cannot be "udp"'),
    ],
)
def test_kind_and_prot_are_one_of_the_known(text: str, message: str) -> None:
    error = refused(text)
    assert error.message == f"Enarx.toml:{message}"
    assert error.hint
    assert refused("[[files]]\nkind = 'lisen'").hint == 'did you mean "listen"?'


# ---- types ----


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steward = true", "1:11: steward must be a string, not the boolean true"),
        ("args = 'a'", '1:8: args must be an array of strings, not the string "a"'),
        ("args = ['a', 2]", "1:14: args[1] must be a string, not the number 2"),
        ("args = [\n 'a', # one\n 1979-05-27 07:32:00,\n]", "3:2: args[1] must be a string, not a date or time"),
        ("args = [1.5]", "1:9: args[0] must be a string, not the number 1.5"),
        ("files = 'x'", '1:9: files must be an array of tables, [[files]], not the string "x"'),
        ("[files]\nkind = 'null'", "1:1: files must be an array of tables, [[files]], not a table"),
        ("files = ['null']", '1:10: files[0] must be a table, not the string "null"'),
        ("[[files]]\nkind = 3", "2:8: files[0].kind must be a string, not the number 3"),
        ("env = []", "1:7: env must be a table of strings, not an array"),
        ("[env]\nA = 1", "2:5: env.A must be a string, not the number 1"),
        ("[env]\nA.B = 'x'", "2:1: env.A must be a string, not a table"),
        ("[env]\nA = [ 'x' ]", "2:5: env.A must be a string, not an array"),
        ("secret_env = 'x'", '1:14: secret_env must be a table of strings, not the string "x"'),
        ("[secret_env]\nA = ['x']", "2:5: secret_env.A must be a string, not an array"),
        ("limits = 1", "1:10: limits must be a table, not the number 1"),
        ("[limits]\nmemory = 1.5", f"2:10: limits.memory must be {SIZE}, not the number 1.5"),
        ("[limits]\nmodule = true", f"2:10: limits.module must be {SIZE}, not the boolean true"),
        ("[limits]\ndescriptors = '5'", '2:15: limits.descriptors must be an integer, not the string "5"'),
        ("[limits]\ndeadline = false", f"2:12: limits.deadline must be {SPAN}, not the boolean false"),
    ],
)
def test_wrong_type_is_named_with_line_and_column(text: str, message: str) -> None:
    error = refused(text)
    assert error.message == f"Enarx.toml:{message}"
    assert error.code == "config-type"


# ---- args and env ----


def test_nul_is_refused_in_every_string() -> None:
    for text in ('args = ["\\u0000"]', '[env]\nA = "\\u0000"', '[[files]]\nkind = "null"\nname = "\\u0000"'):
        error = refused(text)
        assert error.message.endswith(" contains a NUL")
        assert error.code == "config-value"


def test_env_keeps_the_order_of_the_file() -> None:
    assert parse('[env]\nZ = "1"\nA = "2"\n"dotted.name" = "3"').env == (("Z", "1"), ("A", "2"), ("dotted.name", "3"))


@pytest.mark.parametrize("key", ['""', '"A=B"', '"A\\u0000"'])
def test_impossible_environment_name_is_refused(key: str) -> None:
    error = refused(f'[env]\n{key} = "x"')
    assert error.message.startswith("Enarx.toml:2:1: ")
    assert error.code == "config-env-name"


@pytest.mark.parametrize("key", ["FD_COUNT", "FD_NAMES"])
def test_descriptor_variables_cannot_be_set(key: str) -> None:
    error = refused(f'[env]\nA = "x"\n{key} = "x"')
    assert error.message == f"Enarx.toml:3:1: {key} is set by the Keep and cannot be set in [env]"
    assert "[[files]]" in error.hint


# ---- secrets in the environment ----


def test_secret_env_names_secrets_in_the_order_of_the_file() -> None:
    config = parse('[secret_env]\nPASSWORD = "db.password"\nTOKEN = "api_token-2"\nAGAIN = "db.password"')
    assert config.secret_env == (("PASSWORD", "db.password"), ("TOKEN", "api_token-2"), ("AGAIN", "db.password"))
    assert config.env == ()
    assert environment(config) == [("FD_COUNT", "0"), ("FD_NAMES", "")]


@pytest.mark.parametrize("key", ['""', '"A=B"', '"A\\u0000"', "FD_COUNT", "FD_NAMES"])
def test_impossible_name_of_a_secret_variable_is_refused(key: str) -> None:
    error = refused(f'[secret_env]\nOK = "x"\n{key} = "x"')
    assert error.message.startswith("Enarx.toml:3:1: ")
    assert error.code == "config-env-name"


@pytest.mark.parametrize("order", [1, -1])
def test_variable_cannot_be_both_plain_and_secret(order: int) -> None:
    text = "\n".join(['[env]\nA = "x"', '[secret_env]\nB = "b"\nA = "a"'][::order])
    error = refused(text)
    assert error.message == f'Enarx.toml:{5 if order == 1 else 3}:1: "A" is in [env] as well'
    assert error.code == "config-env-name"


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "../a", "a b", "é", "s3cr3t!", "n" * 64, "a\\n"])
def test_what_is_not_the_name_of_a_secret_is_refused_and_not_shown(name: str) -> None:
    """Somebody may have written the secret itself, and errors go to the host."""
    error = refused(f'[secret_env]\nA = "{name}"')
    assert error.message == "Enarx.toml:2:5: secret_env.A is not the name of a secret"
    assert error.code == "config-value"


def test_secret_env_is_bounded() -> None:
    def text(count: int) -> str:
        return "[secret_env]\n" + "".join(f'V{i} = "{"n" * 63}"\n' for i in range(count))

    assert len(parse(text(MAX_SECRET_ENV)).secret_env) == MAX_SECRET_ENV
    assert refused(text(MAX_SECRET_ENV + 1)).code == "config-limit"


# ---- steward ----


def test_steward_text_is_kept_as_written() -> None:
    assert parse('steward = "HTTPS://Attest.example:8443/api/"').steward == "HTTPS://Attest.example:8443/api/"


@pytest.mark.parametrize("url", ["http://attest.example", "ftp://attest.example"])
def test_unencrypted_steward_is_refused(url: str) -> None:
    assert refused(f'steward = "{url}"').message == "Enarx.toml:1:11: refusing to use an unencrypted steward url"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "attest.example",
        "https://",
        "https://[::1",
        "https://a:99999",
        "https://a:0",
        "https://a b",
        "https://a\\nb",
        "//a",
    ],
)
def test_steward_must_be_a_url(url: str) -> None:
    error = refused(f'steward = "{url}"')
    assert error.message.startswith("Enarx.toml:1:11: steward is not a URL: ")
    assert error.code == "config-steward"


# ---- limits ----


def test_default_limits() -> None:
    expected = Limits(1 * GIB, 256 * MIB, 1024, None, 100_000_000)
    assert parse("").limits == parse("[limits]").limits == Config.default().limits == Limits() == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("65536", 65536),
        ("0x10000", 65536),
        ('"65536"', 65536),
        ('"65536 B"', 65536),
        ('"64KiB"', 64 * KIB),
        ('"512 MiB"', 512 * MIB),
        ('"4 GiB"', 4 * GIB),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse(f"[limits]\nmemory = {text}").limits.memory_bytes == size


@pytest.mark.parametrize(
    "text", ["", " ", "MiB", "1.5 GiB", "512 MB", "512  MiB", "-1", "1e6", "64kib", "٣ GiB", "1" * 21]
)
def test_text_that_is_no_size_is_refused(text: str) -> None:
    error = refused(f'[limits]\nfilesystem = "{text}"')
    assert error.message.startswith("Enarx.toml:2:14: limits.filesystem is not a size: ")
    assert "MiB" in error.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("0.5", 0.5),
        ('"30s"', 30.0),
        ('"5m"', 300.0),
        ('"1h30m"', 5400.0),
        ('"1.5s"', 1.5),
        ('"500ms"', 0.5),
        ('"1h2m3s4ms"', 3723.004),
        ("31536000", 31536000.0),
        ("0.01", 0.01),
    ],
)
def test_deadlines(text: str, seconds: float) -> None:
    deadline = parse(f"[limits]\ndeadline = {text}").limits.deadline_seconds
    assert deadline == pytest.approx(seconds)
    assert isinstance(deadline, float)


@pytest.mark.parametrize("text", ["", "30", "s", "1m1h", "1d", "1 h", "-5s", "1.5h", "5M"])
def test_text_that_is_no_time_span_is_refused(text: str) -> None:
    assert refused(f'[limits]\ndeadline = "{text}"').message.startswith(
        "Enarx.toml:2:12: limits.deadline is not a time span: "
    )


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("memory", "65536", "4294967296"),
        ("filesystem", "0", "4294967296"),
        ("descriptors", "3", "65536"),
        ("module", "65536", "1073741824"),
    ],
)
def test_limit_bounds(key: str, low: str, high: str) -> None:
    for value in (low, high):
        assert parse(f"[limits]\n{key} = {value}")
    for number in (int(low) - 1, int(high) + 1, 10**90):
        error = refused(f"[limits]\n{key} = {number}")
        assert error.message == f"Enarx.toml:2:{len(key) + 4}: limits.{key} is out of range: {number}"
        assert error.hint.startswith("it must be from ")


@pytest.mark.parametrize("text", ["0", "-1", "0.009", "nan", "inf", "-inf", "31536001", "9" * 90, '"0s"', '"9000h"'])
def test_deadline_bounds(text: str) -> None:
    assert "limits.deadline is out of range" in refused(f"[limits]\ndeadline = {text}").message


def test_more_files_than_descriptors_are_refused() -> None:
    entry = '[[files]]\nkind = "null"\n'
    assert len(parse("[limits]\ndescriptors = 3\n" + entry * 3).files) == 3
    error = refused("[limits]\ndescriptors = 3\n" + entry * 4)
    assert error.message == "Enarx.toml:3:1: 4 files are more than the limit of 3 open descriptors"


# ---- certificates ----


def test_inline_certificate_is_kept_and_travels_nowhere(pem: str) -> None:
    config = parse(connect(ca=f'["""\n{pem}"""]') + listen(client_ca=f"['''{pem}''']"))
    files = config.files
    assert isinstance(files[0], ConnectFile) and files[0].ca == (pem,)
    assert isinstance(files[1], ListenFile) and files[1].client_ca == (pem,)
    assert config.ca_paths() == ()
    loaded = x509.load_pem_x509_certificates(pem_of(files[0].ca[0], {}))
    assert len(loaded) == 1


def test_certificate_files_are_listed_once_and_resolved_from_what_was_sent(pem: str) -> None:
    config = parse(connect(ca='["b.pem", "/etc/ca.pem", "b.pem"]') + listen(client_ca='["a.pem", "b.pem"]') + STDIO)
    assert config.ca_paths() == ("b.pem", "/etc/ca.pem", "a.pem")
    assert pem_of("b.pem", {"b.pem": (pem * 2).encode()}) == (pem * 2).encode()


def test_certificate_file_that_was_not_sent_is_named() -> None:
    with pytest.raises(ConfigError, match=r'certificate file "b\.pem" did not come') as caught:
        pem_of("b.pem", {"./b.pem": b""})
    assert caught.value.code == "config-ca-missing"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda pem: "", "no complete PEM"),
        (lambda pem: "\x30\x03\x02\x01", "no complete PEM"),
        (lambda pem: pem.replace("-----END CERTIFICATE-----", ""), "no complete PEM"),
        (lambda pem: pem + pem[: len(pem) // 2], "an incomplete PEM"),
        (lambda pem: pem.replace("MII", "M!I"), "not base64"),
        (lambda pem: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "an empty PEM"),
        (lambda pem: pem + "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "a private key"),
        (lambda pem: pem + "#" * MAX_PEM_BYTES, f"more than {MAX_PEM_BYTES}"),
    ],
)
def test_file_that_is_not_pem_certificates_is_refused(pem: str, change: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        pem_of("ca.pem", {"ca.pem": change(pem).encode()})
    assert caught.value.code == "config-ca"
    if "-----BEGIN CERT" in change(pem):
        error = refused(connect(ca=f"['''{change(pem)}''']"))
        assert problem in error.message
        assert error.message.startswith("Enarx.toml:4:7: files[0].ca[0] ")


def test_pem_of_the_largest_size_is_accepted(pem: str) -> None:
    data = pem.encode().ljust(MAX_PEM_BYTES, b"\n")
    assert pem_of("ca.pem", {"ca.pem": data}) == data


@pytest.mark.parametrize(
    "value", ["[]", '[""]', '["a\\nb"]', f'["{"a" * 4097}"]', "[" + '"a",' * (MAX_CA_ENTRIES + 1) + "]"]
)
def test_certificate_list_that_cannot_be_meant_is_refused(value: str) -> None:
    for text in (connect(ca=value), listen(client_ca=value)):
        error = refused(text)
        assert error.code == "config-ca"
        assert error.message.startswith("Enarx.toml:4:")


def test_certificates_without_tls_are_refused() -> None:
    for text, column in (
        (connect(prot='"tcp"', ca='["a.pem"]'), "ca"),
        (listen(prot='"tcp"', client_ca='["a.pem"]'), "client_ca"),
    ):
        assert refused(text).message == f'Enarx.toml:5:1: `{column}` has no meaning with prot = "tcp"'


# ---- syntax, encoding, bounds ----


def test_syntax_error_shows_the_line_with_a_caret() -> None:
    error = refused('args = []\n[[files]]\n\tkind = "null" name\n')
    assert error.code == "config-syntax"
    first, line, caret = error.message.split("\n")
    assert first == "Enarx.toml:3:16: Expected newline or end of document after a statement"
    assert line == '     kind = "null" name'
    assert line[caret.index("^")] == "n"
    assert line[caret.index("^") :] == "name"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("steward = ", "1:11"),
        ("args = [\n'a',\n", "2:5"),
        ("a = 1\na = 2\n", "2:6"),
        ("[env]\n[env]\n", "2:5"),
        ("files = 1\n[[files]]\n", "2:8"),
        ("x = 'abc", "1:9"),
        ("steward = https://x", "1:11"),
        ('args = ["\x00"]', "1:10"),
        ('args = ["\\ud800"]', "1:16"),
        ("# caf\xe9 \x07", "1:8"),
        ("x = 2021-02-30", "1:5"),
        ('"\\q" = 1', "1:4"),
        ("=", "1:1"),
        ("a\rb = 1", "1:2"),
    ],
)
def test_syntax_errors_have_line_and_column(text: str, position: str) -> None:
    error = refused(text)
    assert error.message.startswith(f"Enarx.toml:{position}: ")
    assert error.code == "config-syntax"


def test_syntax_error_in_a_long_line_shows_a_part_of_it() -> None:
    error = refused("args = ['" + "x" * 5000 + "' y '" + "z" * 5000 + "']")
    _, line, caret = error.message.split("\n")
    assert len(line) <= 104
    assert line[caret.index("^")] == "y"


def test_source_is_what_messages_start_with() -> None:
    with pytest.raises(ConfigError, match=r"^conf/app\.toml:1:1: unknown key"):
        parse("x = 1", source="conf/app.toml")


def test_bytes_that_are_not_utf8_are_refused_with_their_position() -> None:
    error = refused(b"args = []\n# \xc3\xa9 \xff\n")
    assert error.message == "Enarx.toml:2:5: not UTF-8: byte 0xff"
    assert refused("\ufeffargs = []".encode()).message == "Enarx.toml:1:1: starts with a byte order mark"
    assert refused("args = ['\ud800']").code == refused(b"\xff\xfea\x00").code == "config-encoding"


def test_config_size_is_bounded() -> None:
    assert parse(b"#" * MAX_CONFIG_BYTES) == Config()
    assert refused(b"#" * (MAX_CONFIG_BYTES + 1)).code == "config-too-large"
    assert refused("é" * (MAX_CONFIG_BYTES // 2 + 1)).code == "config-too-large"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x = " + "[" * 100_000, f"nested more than {MAX_DEPTH} deep"),
        ("x = " + "{a=" * 100_000, f"nested more than {MAX_DEPTH} deep"),
        ("a" + ".a" * 400_000 + " = 1", f"a key has more than {MAX_DEPTH} parts"),
        ("[" + "a." * 400_000 + "a]", f"a key has more than {MAX_DEPTH} parts"),
        ("x = {a" + ".a" * 400_000 + " = 1}", f"a key has more than {MAX_DEPTH} parts"),
        ("args = [" + "1," * 400_000 + "]", f"more than {MAX_VALUES} values"),
        ("".join(f"[a{n}]\n" for n in range(60_000)), f"more than {MAX_VALUES} values"),
        ("x = " + "9" * 5000, f"a value without quotes is longer than {MAX_SCALAR_CHARS} characters"),
        ("x = 0x" + "f" * 900_000, f"a value without quotes is longer than {MAX_SCALAR_CHARS} characters"),
    ],
)
def test_documents_that_would_exhaust_the_parser_are_refused_before_it_sees_them(text: str, what: str) -> None:
    error = refused(text)
    assert what in error.message
    assert error.code == "config-too-large"


def test_documents_at_the_bounds_reach_the_parser() -> None:
    assert parse("args = [" + "'',\n" * (MAX_VALUES - 1) + "]").args == ("",) * (MAX_VALUES - 1)
    for text in ("x = " + "9" * MAX_SCALAR_CHARS, "a" + ".a" * (MAX_DEPTH - 1) + " = 1"):
        assert refused(text).code == "config-unknown-key"


# ---- template ----


def test_template_is_valid_as_it_is() -> None:
    assert parse(TEMPLATE) == Config.default()


def test_template_is_valid_with_every_comment_removed() -> None:
    text = "".join(line.removeprefix("# ") for line in TEMPLATE.splitlines(keepends=True))
    config = parse(text)
    assert config.steward == "https://attest.example.com"
    assert config.args and config.env
    assert config.secret_env == (("DATABASE_PASSWORD", "database-password"),)
    assert config.limits == Limits(deadline_seconds=86_400.0)  # the others stand there with their defaults
    assert config.files[:3] == (STDIN, STDOUT, STDERR)
    assert config.files[3:] == (
        ListenFile("LISTEN", Protocol.TLS, addr="::", port=12345, client_ca=("clients.pem",)),
        ConnectFile("CONNECT", Protocol.TLS, "localhost", 23456, ("server-ca.pem",)),
    )
    assert parse(TEMPLATE.replace("# ", "")) == parse(text)


# ---- properties ----

_WORDS = (
    "args files env secret_env limits steward kind name port memory deadline prot client_ca ca 'listen' \"null\" 1 -1 "
    "1.5 1e9 nan"
)
_MARKS = " |\n|\r\n|\t|=| = |.|,|[|]|[[|]]|{|}|#|\"|'|\"\"\"|'''|\\|\\u0041|\x00|\x7f|é|true|07:32:00|0x1f"
_LINES = ["[[files]]\n", "[env]\n", "[secret_env]\n", "[limits]\n", "[files.a]\n", "kind = 'listen'\n", "port = "]
_LINES += ["kind = 'connect'\n"]
toml_like = st.lists(st.sampled_from(_WORDS.split() + _MARKS.split("|") + _LINES), max_size=30).map("".join)


@given(st.binary() | st.text().map(str.encode) | toml_like.map(str.encode))
@example(b"")
def test_any_bytes_parse_or_raise_config_error(data: bytes) -> None:
    try:
        config = parse(data)
    except ConfigError as error:
        assert re.match(r"Enarx\.toml:([0-9]+:[0-9]+: | )", error.message)
        assert error.code
    else:
        assert len(environment(config)) == len(config.env) + 2


@given(st.text(st.characters()) | toml_like)
def test_any_text_parses_or_raises_config_error(text: str) -> None:
    try:
        parse(text)
    except ConfigError as error:
        assert error.code


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    if not items:
        return [path]
    return [found for key, item in items for found in _paths(item, (*path, key))]


def _assert_scanner_sees_all_of(text: str, document: dict[str, Any]) -> None:
    scanner = Scanner(text.replace("\r\n", "\n"))
    scanner.scan()
    assert {path for path in _paths(document) if path} <= scanner.values.keys()


_SCALARS = [
    "1",
    "-0.5",
    "true",
    "inf",
    "1979-05-27 07:32:00",
    "07:32:00.5",
    "1979-05-27T07:32:00+01:00",
    '""',
    "''",
    '"#,]}"',
    "'#,]}\\'",
    '"\\""',
    '"""\n"\\\\ ]""\\""""',
    "'''\n'\\ ]'''''",
    '"""x"""""',
]
_HEADERS = ["", "", "[t{}]", "[ t . u{} ]", "[[l]]", "[[l]]\n[l.t{}]", "[[l]]\n[[l.m]]\n[[ l.m ]]"]


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    form = draw(st.sampled_from(["scalar", "array", "table"])) if depth else "scalar"
    if form == "scalar":
        return draw(st.sampled_from(_SCALARS))
    items = draw(st.lists(values(depth - 1), max_size=3))
    if form == "table":
        return "{ " + " , ".join(f"k{n}={item}" for n, item in enumerate(items)) + "}"
    gap = draw(st.sampled_from(["", " ", "\n", " # ] ' \"\n\t"]))
    comma = "," if draw(st.booleans()) and items else ""
    return f"[{gap}{f'{gap},{gap}'.join(items)}{comma}{gap}]"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Valid TOML in every shape: dotted and quoted keys, tables, arrays of tables and tables in those, comments."""
    lines: list[str] = []
    for n in range(draw(st.integers(1, 8))):
        key = draw(st.sampled_from(["k{}", '"k.{}"', "'k]{}'", '"\\u006b\\"{}"', "k . d{}", "k.'d{}'"])).format(n)
        end = draw(st.sampled_from(["", " ", "\t# '''"]))
        lines.append(f"{key} = {draw(values())}{end}")
        lines.append(draw(st.sampled_from(_HEADERS)).format(n) + end)
    return draw(st.sampled_from(["\n", "\r\n", "\n\n  "])).join(lines)


@given(documents())
@example("a = '''x''''\nb = 1")
@example('a = """x\\""""""\nb = 1')
@example('a = """"""\nb = ""')
@example("[[a]]\n[[a.b]]\nx=1\n[[a.b]]\n[a.b.c]\ny=2\n[[a]]\n[a.b]\nz=3")
@example('"a.b"."c\\"d".\'e\' = [ [1,], # c ]\n {x = {y.z = 2}} ]\nq = 1979-05-27 07:32:00 # t\nlast=1')
def test_scanner_sees_every_value_that_the_parser_accepts(text: str) -> None:
    _assert_scanner_sees_all_of(text, tomllib.loads(text))


@given(toml_like)
def test_scanner_goes_as_far_as_the_parser(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    _assert_scanner_sees_all_of(text, document)


_string = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_file_name = _string.map(lambda s: s.replace(":", ""))
_host_name = st.text("abcdefghijklmnopqrstuvwxyz.-0123456789", min_size=1, max_size=30)
_ca = st.lists(st.text("abc/._-", min_size=1, max_size=20), min_size=1, max_size=3).map(tuple)


def _sockets(draw: st.DrawFn) -> tuple[Protocol, tuple[str, ...]]:
    prot = draw(st.sampled_from(Protocol))
    return prot, draw(_ca | st.just(())) if prot is Protocol.TLS else ()


@st.composite
def files(draw: st.DrawFn) -> File:
    kind = draw(st.sampled_from(["null", "stdio", "listen", "connect"]))
    name = draw(_file_name)
    if kind == "null":
        return NullFile(name)
    if kind == "stdio":
        return StdioFile(draw(st.sampled_from(["stdin", "stdout", "stderr"])), name)
    prot, ca = _sockets(draw)
    host, port = draw(_host_name), draw(st.integers(1, 65535))
    if kind == "listen":
        return ListenFile(name, prot, addr=host, port=port, client_ca=ca)
    return ConnectFile(name, prot, host, port, ca)


configs = st.builds(
    Config,
    steward=st.none() | _host_name.filter(lambda h: h.strip(".-")).map(lambda host: f"https://{host}/"),
    args=st.lists(_string, max_size=4).map(tuple),
    files=st.lists(files(), max_size=6).map(tuple),
    env=st.dictionaries(
        _string.filter(lambda key: key and "=" not in key and not key.startswith("FD_")), _string, max_size=4
    ).map(lambda env: tuple(env.items())),
    secret_env=st.dictionaries(
        st.text(string.ascii_lowercase, min_size=1, max_size=4).map("FD_{}".format),  # no key of env above
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
        max_size=3,
    ).map(lambda env: tuple(env.items())),
    limits=st.builds(
        Limits,
        memory_bytes=st.integers(64 * KIB, 4 * GIB),
        filesystem_bytes=st.integers(0, 4 * GIB),
        open_descriptors=st.integers(6, 65536),
        deadline_seconds=st.none() | st.floats(0.01, 365 * 86_400.0),
        module_bytes=st.integers(64 * KIB, GIB),
    ),
)


def _quote(text: str) -> str:
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


def _toml(config: Config) -> str:
    """The configuration as TOML text, every key written out."""
    lines = [f"args = [{', '.join(map(_quote, config.args))}]"]
    if config.steward is not None:
        lines.append(f"steward = {_quote(config.steward)}")
    for file in config.files:
        lines += ["[[files]]", f"name = {_quote(file.name)}"]
        match file:
            case NullFile():
                lines.append('kind = "null"')
            case StdioFile():
                lines.append(f"kind = {_quote(file.kind)}")
            case ListenFile() | ConnectFile():
                listens = isinstance(file, ListenFile)
                host, ca = (file.addr, file.client_ca) if isinstance(file, ListenFile) else (file.host, file.ca)
                lines += [f'kind = "{"listen" if listens else "connect"}"', f"prot = {_quote(file.prot.value)}"]
                lines += [f"port = {file.port}", f"{'addr' if listens else 'host'} = {_quote(host)}"]
                if ca:
                    lines.append(f"{'client_ca' if listens else 'ca'} = [{', '.join(map(_quote, ca))}]")
    for name, table in (("env", config.env), ("secret_env", config.secret_env)):
        lines += [f"[{name}]", *(f"{_quote(key)} = {_quote(value)}" for key, value in table)]
    lines.append("[limits]")
    limits = config.limits
    lines += [f"memory = {limits.memory_bytes}", f'filesystem = "{limits.filesystem_bytes}"']
    lines += [f"descriptors = {limits.open_descriptors}", f'module = "{limits.module_bytes} B"']
    if limits.deadline_seconds is not None:
        lines.append(f"deadline = {limits.deadline_seconds!r}")
    return "\n".join(lines)


@given(configs)
def test_every_valid_config_survives_being_written_and_read(config: Config) -> None:
    text = _toml(config)
    assert parse(text) == parse(text.encode()) == parse(text.replace("\n", "\r\n")) == config
    _assert_scanner_sees_all_of(text, tomllib.loads(text))


@given(configs, st.data())
def test_stray_key_in_any_place_is_found_at_its_line(config: Config, data: st.DataObject) -> None:
    lines = _toml(config).split("\n")
    places = [number for number, line in enumerate(lines) if line in ("[[files]]", "[limits]")]
    number = data.draw(st.sampled_from(places))
    lines.insert(number + 1, "stray_key = 1")
    assert refused("\n".join(lines)).message.startswith(f'Enarx.toml:{number + 2}:1: unknown key "stray_key"')
