"""The build script of the examples, and the module that the package carries."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from enarx import config
from examples import build
from tests import support, workloads

COMMITTED_BY = "clang version 14.0.6"
"""The compiler of Debian 12. Another one makes other bytes, which is no fault."""


def test_module_of_the_demo_is_what_its_source_says(tmp_path: Path) -> None:
    clang = support.require_tool("clang", "clang")
    version = subprocess.run([clang, "--version"], capture_output=True, text=True, check=True).stdout
    if COMMITTED_BY not in version:
        support.missing(f"the demo's module was made by {COMMITTED_BY}", "clang of Debian 12")
    example = build.EXAMPLES[build.DEMO]
    made = tmp_path / "deeper" / "made.wasm"
    made.parent.mkdir()
    build.compile_to(made, example.compile, [build.EXAMPLES_DIRECTORY / build.DEMO / name for name in example.sources])
    renew = "run: python examples/build.py https-page --update-demo"
    assert made.read_bytes() == build.DEMO_MODULE.read_bytes(), renew


@pytest.mark.parametrize("name", build.EXAMPLES)
def test_example_compiles_to_a_module_without_paths_of_this_machine(name: str) -> None:
    module = workloads.example(name).read_bytes()
    assert module.startswith(b"\0asm\x01\0\0\0")
    for path in (build.ROOT, Path.home(), Path(sys.prefix)):
        assert str(path).encode() + b"/" not in module


@pytest.mark.parametrize("name", [name for name in build.EXAMPLES if name != "go-http"])
def test_same_sources_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    """Go is left out for its time alone: it compiles its whole library."""
    example = build.EXAMPLES[name]
    again = tmp_path / "again.wasm"
    reference = workloads.example(name)
    build.compile_to(again, example.compile, [build.EXAMPLES_DIRECTORY / name / source for source in example.sources])
    assert again.read_bytes() == reference.read_bytes()


@pytest.mark.parametrize("name", build.EXAMPLES)
def test_config_of_each_example_is_valid_and_listens_on_loopback(name: str) -> None:
    text = (build.EXAMPLES_DIRECTORY / name / "Enarx.toml").read_bytes()
    config.parse(text)
    for entry in tomllib.loads(text.decode())["files"]:
        assert entry["kind"] != "listen" or entry["addr"] == "127.0.0.1"


def test_every_directory_of_the_examples_is_built_and_has_its_commands() -> None:
    directories = {path.name for path in build.EXAMPLES_DIRECTORY.iterdir() if path.is_dir()} - {"__pycache__"}
    assert directories == set(build.EXAMPLES)
    index = (build.EXAMPLES_DIRECTORY / "README.md").read_text()
    for name in directories:
        readme = (build.EXAMPLES_DIRECTORY / name / "README.md").read_text()
        assert f"python examples/build.py {name}" in readme
        assert f"build/examples/{name}.wasm" in readme
        assert f"]({name})" in index


@pytest.mark.parametrize("name", ["hello", "files"])
def test_commands_of_the_readme_work(name: str) -> None:
    """Those of the servers never end; tests of their own run them."""
    readme = build.EXAMPLES_DIRECTORY / name / "README.md"
    workloads.example(name)
    commands = [line.removeprefix("$ ") for line in readme.read_text().splitlines() if line.startswith("$ ")]
    assert len(commands) >= 2
    environment = workloads.environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    for command in commands:
        done = subprocess.run(
            shlex.split(command), cwd=build.ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout


def test_what_is_up_to_date_is_not_built_again_and_what_was_damaged_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "OUTPUT_DIRECTORY", tmp_path)
    calls = 0

    def compiler(source: Path, output: Path) -> None:
        nonlocal calls
        calls += 1
        build.assemble_wat(source, output)

    source = tmp_path / "x.wat"
    source.write_text("(module)")
    output = build.build_sources("x", compiler, [source])
    assert build.build_sources("x", compiler, [source]) == output
    assert calls == 1
    output.write_bytes(b"damaged")
    build.build_sources("x", compiler, [source])
    assert (calls, output.read_bytes()) == (2, b"\0asm\x01\0\0\0")
    source.write_text('(module (func (export "_start")))')
    build.build_sources("x", compiler, [source])
    assert calls == 3


def test_compiler_that_fails_is_quoted_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    support.require_tool("clang", "clang")
    monkeypatch.setattr(build, "OUTPUT_DIRECTORY", tmp_path)
    source = tmp_path / "x.c"
    source.write_text("int main(void) { return missing; }\n")
    with pytest.raises(build.BuildError, match="use of undeclared identifier 'missing'"):
        build.build_sources("x", build.compile_c, [source])
    assert {path.name for path in tmp_path.iterdir()} == {"x.c", "x.lock"}


def test_missing_compiler_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    source = tmp_path / "x.c"
    source.write_text("int main(void) { return 0; }\n")
    with pytest.raises(build.MissingToolError, match=r"clang is not installed .*apt-get install clang"):
        build.compile_c(source, tmp_path / "x.wasm")
    with pytest.raises(build.MissingToolError, match="libstd-rust-dev-wasm32"):
        build.rustc()


def test_command_builds_what_it_is_told_and_names_the_result() -> None:
    command = [sys.executable, str(build.ROOT / "examples" / "build.py")]
    done = subprocess.run([*command, "hello"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "build/examples/hello.wasm\n")
    wrong = subprocess.run([*command, "helo"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no example is called helo" in wrong.stderr
