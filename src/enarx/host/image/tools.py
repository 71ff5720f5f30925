"""What turns inputs into what is in the image: the image's own Python compiles its modules, a locked `strip` strips.

Both run from their locked packages with the locked C library, so that the result depends on nothing that is installed
here; this machine provides an x86-64 kernel and a directory.
"""

from __future__ import annotations

import platform
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from enarx.errors import HostError

TOOL_SECONDS: Final = 600
"""How long one tool may run, in seconds."""
LOADER: Final = "lib64/ld-linux-x86-64.so.2"
PYTHON: Final = "usr/bin/python3.11"
STRIP: Final = "usr/bin/x86_64-linux-gnu-strip"
_LIBRARIES: Final = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")

# Unchecked: the interpreter in the image takes the compiled module as it is; there is no source to compare it with.
_COMPILE: Final = """
import _imp, sys
from importlib import _bootstrap_external as files
directory = sys.argv[1]
with open(f"{directory}/names", encoding="utf-8") as listing:
    names = listing.read().splitlines()
for number, name in enumerate(names):
    with open(f"{directory}/{number}.py", "rb") as file:
        source = file.read()
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    digest = _imp.source_hash(files._RAW_MAGIC_NUMBER, source)
    with open(f"{directory}/{number}.pyc", "wb") as file:
        file.write(files._code_to_hash_pyc(code, digest, checked=False))
"""


class Tools:
    """Programs from locked packages, laid out in a directory. Made by ``unpacked``."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "root"
        self._work = directory / "work"
        self._work.mkdir()

    def compile(self, sources: Mapping[str, bytes]) -> dict[str, bytes]:
        """Compiled modules by path, from sources by path (``usr/lib/python3.11/os.py``). HostError (``image-tool``)."""
        names = sorted(sources)
        (self._work / "names").write_text("".join(f"/{name}\n" for name in names))
        for number, name in enumerate(names):
            (self._work / f"{number}.py").write_bytes(sources[name])
        # -I would ignore the hash seed, and sets are compiled in the order of their members' hashes.
        self._run(PYTHON, "-S", "-s", "-P", "-B", "-X", "no_debug_ranges", "-c", _COMPILE, str(self._work))
        return {name: (self._work / f"{number}.pyc").read_bytes() for number, name in enumerate(names)}

    def strip(self, library: bytes) -> bytes:
        """A shared library without what only debuggers read. HostError (``image-tool``)."""
        before, after = self._work / "before.so", self._work / "after.so"
        before.write_bytes(library)
        self._run(STRIP, "--strip-all", "-o", str(after), str(before))
        return after.read_bytes()

    def _run(self, program: str, *arguments: str) -> None:
        libraries = ":".join(str(self._root / one) for one in _LIBRARIES)
        command = (str(self._root / LOADER), "--library-path", libraries, str(self._root / program), *arguments)
        environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C", "PYTHONHOME": str(self._root / "usr")}
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program
                command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=TOOL_SECONDS,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(
                f"{program} from the locked packages does not run here: {error}",
                code="image-tool",
                hint=f"an image is built on x86-64 Linux; this is {platform.machine()}",
            ) from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
            raise HostError(
                f"{program} from the locked packages failed: {' '.join(said)[:500]}",
                code="image-tool",
                hint="the locked packages do not go together; lock again with `enarx image lock`",
            )


@contextmanager
def unpacked(files: Mapping[str, bytes]) -> Iterator[Tools]:
    """Tools whose ``files`` (by path in their packages) are in a temporary directory. HostError (``image-tool``)."""
    with tempfile.TemporaryDirectory(prefix="enarx-tools-") as name:
        directory = Path(name)
        for path, data in files.items():
            target = directory / "root" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(0o755)
        yield Tools(directory)
