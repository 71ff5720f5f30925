"""Which files a Keep opens: an attested one with an encrypted package and TLS, which needs more than any other.

Run as a program, it writes the list of the initial RAM disk anew.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from enarx.host.image.build import left_out
from enarx.manifest import digest_of
from tests import imageroot, images, programs, support
from tests.archives import Part, pack
from tests.e2e.attested import tenant
from tests.e2e.command import STDIO, config, enarx, module
from tests.keep.sealing import seal

LISTEN = '[[files]]\nkind = "listen"\nname = "web"\nprot = "tls"\naddr = "127.0.0.1"\nport = 0\n'
BY_KERNEL = ("lib64/ld-linux-x86-64.so.2", "usr/bin/python3.11")
"""What the kernel opens, to start the first process."""
FILES = images.SOURCES / "host" / "image" / "files.txt"


def opened(directory: Path) -> set[str]:
    """Paths of the files that Keeps of several kinds ask for and find, of all that the locked packages have."""
    root, traces = images.full_root(), directory / "traces"
    traces.mkdir()
    with support.run_instead(imageroot.program(directory, root, traces)):
        _plain(directory)
        _attested(directory)
    found = {path for path, there in imageroot.opened(traces) if there and (root / path).is_file()}
    return found | set(BY_KERNEL)


def _plain(directory: Path) -> None:
    """A Keep that certifies itself, one whose config is wrong, and one whose workload fails."""
    path, text = module(directory, programs.HELLO), config(directory, STDIO + LISTEN)
    done = enarx("run", "--verbose", "--wasmcfgfile", text, path, cwd=directory)
    assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr.decode()
    assert b"enarx: sandbox: empty_root: applied" in done.stderr
    done = enarx("run", module(directory, programs.TRAP), cwd=directory)
    assert done.returncode != 0


def _attested(directory: Path) -> None:
    """A Keep that is sent an encrypted package, and opens it with the key that its Steward releases."""
    key = secrets.token_bytes(32)
    parts: list[Part] = [("Enarx.toml", (STDIO + LISTEN).encode()), ("main.wasm", programs.HELLO)]
    sealed = seal(pack(parts), key)
    with tenant(directory, sealed, secrets={"package-key": key}) as ours:
        path = module(directory, sealed, "app.enarx")
        done = enarx("deploy", path.as_uri(), *ours.options(), cwd=directory)
        assert (done.returncode, done.stdout) == (0, b"ready\n"), (done.stderr.decode(), digest_of(sealed))


def main() -> None:
    """Write the list."""
    with tempfile.TemporaryDirectory() as name:
        found = opened(Path(name))
    text = FILES.read_text(encoding="utf-8")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    without = [f"!{path}" for path in sorted(left_out())]
    FILES.write_text("\n".join([*comments, *sorted(found), *without]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
