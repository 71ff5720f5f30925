"""Every command shown in the README and in docs/ is run, or stands here with the reason why it is not.

A block fenced as ``console`` or ``sh`` is a sequence of commands (``console``: the lines after ``$ ``, the others are
output). Each block runs in a directory of its own, prepared with what the text calls by name: ``app.wasm``, a program
that prints a line, ``app.enarx``, the same as a package, ``Enarx.toml`` with the three standard streams, ``app/``, both
of these with files, to be packed, ``data/``, a real report with its VCEK and a policy that accepts it, the files of a
launch, a bundle, and a Steward's CA. The registry that is shown at ``localhost:5000`` runs at another port. The pages
that are sessions, the tutorial and the how-to guides, are run by test_guides.py.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx import config
from enarx.evidence.ovmf import SectionType
from enarx.host.image.fetch import default_cache
from enarx.tenant.steward.ca import make_authority
from tests import images
from tests.archives import pack
from tests.connect.test_bundle import saved
from tests.evidence.ovmf_images import AMD_SEV_SECTIONS, ovmf_image
from tests.registry.running import registry
from tests.support import ROOT
from tests.test_guides import GUIDES

DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    ROOT.glob("docs/**/*.md")
)
COMMAND_LANGUAGES = ("console", "sh")
COMMAND_TIMEOUT_SECONDS = 60
IMAGE_TIMEOUT_SECONDS = 240
"""Of a command that fetches and builds, on a machine that does other things as well."""
REGISTRY = "localhost:5000"

# Not run, and why. A `make` target need not be listed: test_make_target_exists looks at each.
NOT_RUN = {
    ".venv/bin/python -m pytest tests/scripts/test_coverage_gate.py": "runs as part of the tests that run this one",
    "enarx image kernel -o build/kernel": "compiles for minutes; .ci/run does, when what it is built from has changed",
    "enarx image build --kernel own -o image": "needs that kernel, and 250 MB of downloads",
}

PROGRAM = r"""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\0e\00\00\00\00\00\00\00\00\00\00\00from the Keep!\n")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"""
CONFIG = '[[files]]\nkind = "stdin"\n[[files]]\nkind = "stdout"\n[[files]]\nkind = "stderr"\n'


@dataclass(frozen=True, slots=True)
class Block:
    """The commands of one fenced block, with where it stands."""

    document: str
    line: int
    commands: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: str, text: str) -> Iterator[Block]:
    """The command blocks in a Markdown text. An indented fence counts; an unclosed one is an error."""
    language = ""
    body: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.fullmatch(r"\s*```(\S*).*", line)
        if start and fence is None:
            body.append(line.strip())
        elif start:
            if language in COMMAND_LANGUAGES:
                yield Block(document, start, tuple(commands_in(language, body)))
            start, body = 0, []
        elif fence is not None:
            start, language = number, fence[1]
    assert not start, f"{document}:{start}: the block is not closed"


def commands_in(language: str, lines: list[str]) -> Iterator[str]:
    """One command a line, continued by a backslash; comments and, in ``console``, output are left out."""
    joined = "\n".join(lines).replace("\\\n", " ")
    for line in joined.splitlines():
        command = line.removeprefix("$ ") if language == "console" else line
        is_output = language == "console" and command == line
        if command and not is_output and not command.startswith("#"):
            yield " ".join(command.split())


BLOCKS = [
    block for path in DOCUMENTS for block in blocks_of(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
]
COMMANDS = {command for block in BLOCKS for command in block.commands}
MAKE_COMMANDS = sorted(command for command in COMMANDS if command.split()[0] == "make")


def runnable(block: Block) -> list[str]:
    return [command for command in block.commands if command not in NOT_RUN and command not in MAKE_COMMANDS]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    import wasmtime

    (tmp_path / "app.wasm").write_bytes(wasmtime.wat2wasm(PROGRAM))
    (tmp_path / "Enarx.toml").write_text(CONFIG)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "page.html").write_text("<p>from the host</p>\n")
    write_workload(tmp_path / "app")
    (tmp_path / "ca.pem").write_bytes(make_authority("Steward", datetime.now(UTC))[1])
    write_evidence(tmp_path)
    (tmp_path / "keep.bundle").write_bytes(saved().encode())
    write_launch_files(tmp_path)
    (tmp_path / "app.enarx").write_bytes(pack([("main.wasm", (tmp_path / "app.wasm").read_bytes())]))
    return tmp_path


def write_workload(folder: Path) -> None:
    import wasmtime

    (folder / "files").mkdir(parents=True)
    (folder / "main.wasm").write_bytes(wasmtime.wat2wasm(PROGRAM))
    (folder / "Enarx.toml").write_text(CONFIG)
    (folder / "files" / "page.html").write_text("<p>from the package</p>\n")


@pytest.fixture(scope="session")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running.host


def write_evidence(folder: Path) -> None:
    from omne_attest import vectors

    from enarx.evidence.snp import parse

    measurement = parse(vectors.attestation()).measurement.hex()
    (folder / "report.bin").write_bytes(vectors.attestation())
    (folder / "vcek.der").write_bytes(vectors.vcek())
    (folder / "policy.toml").write_text(f'[snp]\nmeasurement = "{measurement}"\n[snp.guest_policy]\ndebug = true\n')


def write_launch_files(folder: Path) -> None:
    (folder / "OVMF.amdsev.fd").write_bytes(ovmf_image())
    sections = tuple(one for one in AMD_SEV_SECTIONS if one[2] != SectionType.KERNEL_HASHES)
    (folder / "OVMF.svsm.fd").write_bytes(ovmf_image(sections=sections))
    (folder / "svsm.bin").write_bytes(ovmf_image(svsm_entry=0x10))
    for name in ("vmlinuz", "initrd.img", "OVMF_VARS.fd"):
        (folder / name).write_bytes(bytes(4096))


ALONE = [block for block in BLOCKS if runnable(block) and ROOT / block.document not in GUIDES]
"""Blocks that need no other: all but those of the guides."""


@pytest.mark.parametrize("block", ALONE, ids=str)
def test_documented_commands_work(block: Block, workspace: Path, request: pytest.FixtureRequest) -> None:
    homes: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    environment = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(homes.mktemp("home")),
        "XDG_RUNTIME_DIR": str(homes.mktemp("runtime")),
    }
    for command in runnable(block):
        words = shlex.split(command)
        if f"//{REGISTRY}/" in command:
            words = [word.replace(REGISTRY, request.getfixturevalue("registry_host")) for word in words]
        assert words[0] == "enarx", f"{block}: run it or give a reason in NOT_RUN: {command}"
        if words[1] == "image":
            environment["XDG_CACHE_HOME"] = str(default_cache().parent.parent)  # what other tests have fetched already
            words += ["--lock", str(images.lock_file())] if "--lock" not in words else []
        if words[1:3] == ["config", "init"]:
            (workspace / "Enarx.toml").unlink()  # it does not overwrite one
        done = subprocess.run(
            words,
            cwd=workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=IMAGE_TIMEOUT_SECONDS if {"image", "vm"} & set(words) else COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("command", MAKE_COMMANDS)
def test_documented_make_target_exists(command: str) -> None:
    """Its recipe is not run: `make test` runs this test, and the others are tests' and CI's own business."""
    words = shlex.split(command)
    environment = {"PATH": "/usr/bin:/bin"}  # without the MAKEFLAGS of a make that runs these tests
    command_line = [words[0], "-n", *words[1:]]
    done = subprocess.run(command_line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readme_opens_with_the_two_commands() -> None:
    assert next(block for block in BLOCKS if block.document == "README.md").commands == ("make demo", "make test")


def test_every_reason_not_to_run_a_command_is_needed() -> None:
    assert not NOT_RUN.keys() - COMMANDS
    assert all(len(reason.split()) > 3 for reason in NOT_RUN.values())


def test_every_fenced_block_says_its_language() -> None:
    """So that no command escapes by standing in a block without one."""
    for path in DOCUMENTS:
        fences = re.findall(r"^\s*```(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert all(fences[::2]), path
        assert not any(fences[1::2]), path


def test_relative_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} links to {target}"


def test_the_configs_shown_are_valid() -> None:
    """Configs only: a block of TOML in these documents is an Enarx.toml."""
    found = 0
    for path in DOCUMENTS:
        for text in re.findall(r"^```toml\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            config.parse(text, source=path.name)
            found += 1
    assert found


def test_blocks_and_commands_are_found() -> None:
    text = "a\n```console\n$ one \\\n  two\noutput\n$ three\n```\n```toml\n$ no\n```\n  ```sh\n# no\nfour\n  ```\n"
    assert [(block.line, block.commands) for block in blocks_of("x", text)] == [
        (2, ("one two", "three")),
        (11, ("four",)),
    ]
    with pytest.raises(AssertionError, match="x:1: the block is not closed"):
        list(blocks_of("x", "```sh\n"))
