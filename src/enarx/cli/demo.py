"""``enarx demo``: run the example HTTPS workload in a Keep, fetch its page, and show it.

The Keep is started by ``enarx run`` in a process of its own, as a user would start it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from enarx.errors import HostError

if TYPE_CHECKING:
    import queue
    import ssl
    import subprocess
    from pathlib import Path

ADDRESS: Final = "127.0.0.1"
LISTEN_SECONDS: Final = 20.0
"""How long the Keep has until it listens."""
FETCH_SECONDS: Final = 20.0
"""How long one step of the client may take; the first one waits for the workload to be compiled, too."""
STOP_SECONDS: Final = 2.0
"""How long ``enarx run`` has to end after it was told to."""
MAX_PAGE_BYTES: Final = 1 << 20
MAX_STDERR_LINES: Final = 200
SHOWN_FACTS: Final = 12
WIDTH: Final = 88
MIN_WIDTH: Final = 24
LISTENING: Final = "enarx: listening on "
PR_SET_PDEATHSIG: Final = 1

CONFIG: Final = """\
[[files]]
kind = "null"

[[files]]
kind = "stdout"

[[files]]
kind = "stderr"

[[files]]
kind = "listen"
name = "web"
prot = "tls"
addr = "{address}"
port = {port}
"""

NOT_VERIFIED: Final = (
    "Not verified: the certificate was taken on first sight, then pinned. It is self-signed, there is no attestation "
    "yet, and a process Keep is not isolated from this machine: whoever controls the machine can read it."
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "demo",
        help="fetch a page from an example workload in a Keep",
        description="Run the example HTTPS workload in a process Keep on this machine, fetch its page over TLS 1.3, "
        "show it, and stop the Keep.",
    )
    parser.add_argument("--port", type=_port, default=0, metavar="PORT", help="where to listen (default: a free port)")
    parser.add_argument("--keep-open", action="store_true", help="leave the Keep serving until Ctrl-C")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Show the demo. Raises HostError when the Keep does not start, or its page cannot be had."""
    from importlib.resources import as_file, files
    from pathlib import Path
    from tempfile import TemporaryDirectory

    show = _Show()
    with ExitStack() as stack:
        stack.enter_context(_ending_signals())
        module = stack.enter_context(as_file(files("enarx") / "data" / "https-page.wasm"))
        config = Path(stack.enter_context(TemporaryDirectory(prefix="enarx-demo-"))) / "Enarx.toml"
        config.write_text(CONFIG.format(address=ADDRESS, port=args.port))
        show.say("A page from a WebAssembly workload in a Keep", bold=True)
        show.step(f"Starting a process Keep: enarx run {module.name} ({module.stat().st_size // 1024} KiB)")
        keep = stack.enter_context(_keep(module, config))
        port = keep.port()
        show.step(f"The Keep listens on {ADDRESS}:{port}")
        _fetch(port, show)
        show.say(NOT_VERIFIED)
        if args.keep_open:
            show.say(f"Serving https://{ADDRESS}:{port}/ until Ctrl-C", bold=True)
            keep.serve()
        keep.stop()
        show.step("The Keep has been stopped")
    return 0


# --- the Keep


class _Keep:
    """``enarx run`` as a child process."""

    def __init__(self, process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
        self._process = process
        self._lines = lines
        self._said: list[str] = []
        self._complete = False

    def _line(self, seconds: float) -> str | None:
        """The next line that it writes to stderr; None at the end. Raises queue.Empty."""
        line = None if self._complete else self._lines.get(timeout=seconds)
        if line is None:
            self._complete = True
        else:
            self._said.append(line)
        return line

    def port(self) -> int:
        """Wait for the Keep to listen, and say where. Raises HostError."""
        from queue import Empty

        end = time.monotonic() + LISTEN_SECONDS
        while True:
            try:
                line = self._line(max(0.0, end - time.monotonic()))
            except Empty:
                raise HostError(
                    f"the Keep does not listen after {LISTEN_SECONDS:g} seconds", code="demo-timeout",
                    hint="the machine may be very busy; try again",
                ) from None  # fmt: skip
            if line is None:
                self._fail()
            if line.startswith(LISTENING):
                return int(line.rpartition(":")[2])

    def serve(self) -> None:
        """Wait until the user has had enough. Raises HostError when the Keep ends first."""
        try:
            self._process.wait()
        except KeyboardInterrupt:
            return
        self._fail()

    def _fail(self) -> NoReturn:
        """The Keep has ended by itself: pass on what it said."""
        from queue import Empty

        status = self._process.wait()
        with suppress(Empty):  # a process that it left behind may hold its stderr open
            while self._line(STOP_SECONDS) is not None:
                pass
        lines = [line for line in self._said if line and not line.startswith("enarx: ")]
        fields = {name: text for name, _, text in (line.partition(": ") for line in lines)}
        raise HostError(
            fields.get("Error") or f"the Keep ended by itself with exit status {status}",
            code=fields.get("Code", "demo-keep"),
            hint="choose another --port, or none" if fields.get("Code") == "listen-failed" else fields.get("Hint", ""),
        )

    def stop(self) -> None:
        """End it, and be sure that it has ended. More than once does no harm."""
        from subprocess import TimeoutExpired

        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except TimeoutExpired:
            self._process.kill()  # the Keep's own process dies with its parent
            self._process.wait()


@contextmanager
def _keep(module: Path, config: Path) -> Iterator[_Keep]:
    """Start ``enarx run``; it ends with the block, or with this process if that is killed."""
    import ctypes
    import queue
    import subprocess
    import threading

    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def end_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    # -P: nothing is imported from the current directory. A session of its own: Ctrl-C is for us, and we stop it.
    command = [sys.executable, "-P", "-m", "enarx.cli.main", "run", str(module), "--wasmcfgfile", str(config)]
    # There is one thread when it forks, which is what a preexec_fn needs.
    process = subprocess.Popen(  # noqa: S603
        [*command, "--verbose"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        errors="replace", start_new_session=True, preexec_fn=end_with_parent,  # noqa: PLW1509
    )  # fmt: skip
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for count, line in enumerate(process.stderr or ()):
            if count < MAX_STDERR_LINES:
                lines.put(line.rstrip())
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    keep = _Keep(process, lines)
    try:
        reader.start()
        yield keep
    finally:
        keep.stop()
        reader.join(STOP_SECONDS)
        if process.stderr is not None and not reader.is_alive():
            process.stderr.close()


@contextmanager
def _ending_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that nothing stays behind."""

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


# --- the client


def _fetch(port: int, show: _Show) -> None:
    """Fetch the page as a client that pins the certificate it has seen first, and show it. Raises HostError."""
    import hashlib
    from http.client import HTTPException, HTTPSConnection

    try:
        certificate = _certificate(port)
        fingerprint = hashlib.sha256(certificate).hexdigest()
        show.step(f"Its certificate, seen for the first time: SHA-256 {fingerprint[:16]}..., self-signed")
        connection = HTTPSConnection(ADDRESS, port, timeout=FETCH_SECONDS, context=_pinning(certificate))
        try:
            connection.connect()
            tls: ssl.SSLSocket = connection.sock
            suite = (tls.cipher() or ("no cipher suite",))[0]
            show.step(f"{(tls.version() or 'no TLS').replace('v', ' ')}, {suite}, with that certificate and no other")
            connection.request("GET", "/", headers={"User-Agent": "enarx demo", "Connection": "close"})
            response = connection.getresponse()
            body = response.read(MAX_PAGE_BYTES)
            status = f"HTTP/{response.version / 10:.1f} {response.status} {response.reason}"
            show.step(f"{status}, {len(body)} bytes in answer to GET /")
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError) as error:
        raise HostError(
            f"the page could not be fetched: {error}", code="demo-fetch", hint="run `enarx demo` again"
        ) from error
    if response.status != 200:
        raise HostError(f"the workload answered {response.status} {response.reason}", code="demo-fetch")
    show.page(body.decode(errors="replace"))


def _certificate(port: int) -> bytes:
    """The certificate (DER) that the Keep shows to whoever asks. Raises OSError."""
    import socket
    import ssl

    context = _tls13()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent over this connection; the next one is verified
    with (
        socket.create_connection((ADDRESS, port), FETCH_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=ADDRESS) as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def _pinning(certificate: bytes) -> ssl.SSLContext:
    """A context that accepts this one certificate (DER), and only for a name that it has."""
    context = _tls13()
    context.load_verify_locations(cadata=certificate)
    return context


def _tls13() -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


# --- the terminal


class _Show:
    """Prints steps with their time, and the page, as wide as the terminal is."""

    def __init__(self) -> None:
        import shutil

        self._start = time.monotonic()
        self._width = max(MIN_WIDTH, min(WIDTH, shutil.get_terminal_size().columns))
        self._styled = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def say(self, text: str, *, bold: bool = False) -> None:
        """A paragraph."""
        self._print(text, "1" if bold else "")

    def step(self, text: str) -> None:
        """Something has happened: say when, in seconds since the start."""
        self._print(text, "", f"{time.monotonic() - self._start:6.2f} s  ")

    def page(self, html: str) -> None:
        """The page's title, its first words and the facts on it."""
        from enarx.cli.page_text import text_of_page

        page = text_of_page(html)
        self._print("")
        self._print(page.title, "1", "  | ", repeat=True)
        for paragraph in page.paragraphs[:2]:
            self._print(paragraph, "", "  | ", repeat=True)
        for name, value in page.facts[:SHOWN_FACTS]:
            self._print(f"{name}: {value}", "2", "  | ", repeat=True)
        self._print("")

    def _print(self, text: str, style: str = "", prefix: str = "", *, repeat: bool = False) -> None:
        import textwrap

        later = prefix if repeat else " " * len(prefix)
        safe = "".join(char if char.isprintable() else "?" for char in text)
        wrapped = textwrap.fill(
            safe, self._width, initial_indent=prefix, subsequent_indent=later, break_on_hyphens=False
        )  # fmt: skip
        encoding = sys.stdout.encoding or "ascii"
        wrapped = wrapped.encode(encoding, "replace").decode(encoding)
        print(f"\x1b[{style}m{wrapped}\x1b[0m" if style and self._styled else wrapped, flush=True)
