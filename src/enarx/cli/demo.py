"""``enarx demo``: the main job, from both ends, on one machine.

A tenant's Steward runs here, a host launches the example HTTPS workload before it, as a process or in a virtual
machine, and a client fetches its page after it has verified what runs there. Then the host swaps the workload, and is
found out. Each party is ``enarx`` in a process of its own, started as its owner would start it; only the secure
processor is simulated.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enarx.cli.ending import ending_signals
from enarx.cli.terminal import can_show, showable
from enarx.errors import HostError

if TYPE_CHECKING:
    import ssl
    from datetime import datetime
    from pathlib import Path

    from enarx.trust.model import Stack

ADDRESS: Final = "127.0.0.1"
NAME: Final = "localhost"
"""The name that the Steward's policy gives to the workload."""
LISTEN_SECONDS: Final = 30.0
"""How long the Keep has until it listens, and the Steward until it serves; the first time code is compiled."""
BOOT_SECONDS: Final = 180.0
"""How much longer a Keep has whose machine has to boot, without KVM."""
FETCH_SECONDS: Final = 20.0
"""How long one step of the client may take."""
MAX_PAGE_BYTES: Final = 1 << 20
SHOWN_FACTS: Final = 12
WIDTH: Final = 88
MIN_WIDTH: Final = 24
LISTENING: Final = "enarx: listening on "
SERVING: Final = "steward: "
SWAPPED: Final = b"\0\x08\x07swapped"
"""A custom section that changes nothing but a module's digest (WebAssembly 5.5.3)."""

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

POLICY: Final = """
[simulated]
root = "{root}"
{accepted}

[workload.web]
digest = ["{module}"]
config = ["{config}"]

[certificate]
dns = ["{name}"]
"""

SIMULATED: Final = (
    "SIMULATED: {keep} has no hardware behind it. Its secure processor is software on this machine, accepted "
    "only because the Steward's policy names its root, and whoever controls the machine can read the Keep."
)
NAMES: Final = {"process": "a process Keep", "vm": "a Keep in a plain virtual machine"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "demo",
        help="an example workload proves itself, serves a page, and is found out when it is swapped",
        description="Start a Steward, launch the example HTTPS workload before it in a Keep on a SIMULATED secure "
        "processor, fetch its page as a client that verifies what runs there, and show that a swapped workload is "
        "refused.",
    )
    parser.add_argument(
        "--backend", choices=list(NAMES), default="process",
        help="kind of Keep: a process (default), or a virtual machine, which takes an image (see `enarx image build`)",
    )  # fmt: skip
    parser.add_argument("--image", metavar="DIR", help="the virtual machine's image (default: $ENARX_IMAGE, or yours)")
    parser.add_argument("--port", type=_port, default=0, metavar="PORT", help="where to listen (default: a free port)")
    parser.add_argument("--keep-open", action="store_true", help="leave the Keep serving until Ctrl-C")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Show the demo. Raises HostError when a part does not start, EvidenceError when the client refuses."""
    from importlib.resources import as_file, files
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from enarx.cli.child import start

    show = _Show()
    with ExitStack() as stack:
        stack.enter_context(ending_signals())
        module = stack.enter_context(as_file(files("enarx") / "data" / "https-page.wasm"))
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="enarx-demo-")))
        scene = _Scene(directory, module, args.backend, _image(args))
        show.say("A workload that proves itself, and a host that is found out", bold=True)
        show.say(SIMULATED.format(keep=NAMES[args.backend]))
        scene.prepare(args.port, show)
        steward = stack.enter_context(start(["steward", "serve", "--directory", str(scene.steward), "--port", "0"]))
        scene.url = steward.wait_for(SERVING, LISTEN_SECONDS, "the Steward does not serve").split("/ CA ")[0]
        show.step(f"Steward: it serves {scene.url}, with a CA and a log of its own")
        keep = stack.enter_context(start(scene.launch(module), errors=True))
        kind = "" if args.backend == "process" else f" --backend {args.backend}"
        show.step(f"Host: enarx run {module.name}{kind} --steward {scene.url}; it measures the Keep and launches it")
        port = int(keep.wait_for(LISTENING, scene.seconds, "the Keep does not listen").rpartition(":")[2])
        show.step(
            "Keep: its evidence names the manifest that it was given; the Steward accepted it and certified its key, "
            f"which never leaves it; it listens on {ADDRESS}:{port}"
        )
        scene.fetch(port, show)
        if args.keep_open:
            with _until_interrupted():  # first: whoever reads the line may interrupt at once
                show.say(f"Serving https://{NAME}:{port}/ until Ctrl-C", bold=True)
                keep.serve()
        keep.stop()
        scene.swap(show)
        show.step(f"Steward: its log of decisions is {scene.decisions().partition(',')[0]}, and all has been stopped")
        assert scene.stack is not None  # noqa: S101 - the client has seen the Keep
        show.stack(scene.stack)
    return 0


@dataclass(slots=True)
class _Scene:
    """What tenant, host and client have, below a directory that is removed at the end."""

    directory: Path
    module: Path
    backend: str
    image: Path | None
    url: str = ""
    ca: str = ""
    measurement: str = ""
    stack: Stack | None = None
    """Who had to be trusted for the Keep, once the client has checked it."""

    @property
    def seconds(self) -> float:
        """How long a Keep has until it listens."""
        return LISTEN_SECONDS if self.image is None else LISTEN_SECONDS + BOOT_SECONDS

    @property
    def steward(self) -> Path:
        return self.directory / "steward"

    @property
    def config(self) -> Path:
        return self.directory / "Enarx.toml"

    @property
    def root(self) -> Path:
        return self.directory / "simulated-root.pem"

    def prepare(self, port: int, show: _Show) -> None:
        """The tenant's part: a Steward, and a policy of what it accepts."""
        from enarx.cli.child import ask
        from enarx.manifest import digest_of

        self.config.write_text(CONFIG.format(address=ADDRESS, port=port))
        ask("simulator", "root", "--out", str(self.root))
        self.measurement = self._measure()
        self.ca = ask("steward", "init", str(self.steward), "--name", ADDRESS).split()[-1]
        module, config = digest_of(self.module.read_bytes()), digest_of(self.config.read_bytes())
        policy = self.steward / "steward.toml"
        stated = POLICY.format(
            root=self.root.name, accepted=self._accepted(), module=module, config=config, name=NAME
        ).replace(self.root.name, f"../{self.root.name}")
        policy.write_text(policy.read_text() + stated)
        show.step(
            f"Tenant: a policy that accepts a Keep of measurement {self.measurement[:16]}..., under the SIMULATED "
            f"root, with workload {module[:23]}... and its Enarx.toml, and nothing else"
        )

    def launch(self, module: Path) -> list[str]:
        """The host's part, as arguments of ``enarx``."""
        pinned = ["--steward", self.url, "--steward-ca", self.ca]
        machine = [] if self.image is None else ["--backend", self.backend, "--image", str(self.image)]
        return ["run", str(module), "--wasmcfgfile", str(self.config), *pinned, *machine, "--verbose"]

    def _measure(self) -> str:
        """The measurement that the tenant expects, in hexadecimal: of the Keep's code, or as its image states it."""
        if self.image is None:
            from enarx.cli.child import ask

            return ask("simulator", "measure").strip()
        from enarx.evidence.reference import parse_reference_values
        from enarx.evidence.vcpu import vcpu_signature
        from enarx.host.qemu.machine import CPU_MODEL, Machine

        signature, count = vcpu_signature(CPU_MODEL), Machine().cpus
        for value in parse_reference_values(self._reference_values().read_bytes()):
            if (value.technology, value.vcpus) == ("snp", count) and vcpu_signature(value.model) == signature:
                return value.measurement.hex()
        raise HostError("the image states no launch digest for this machine", code="demo-image")

    def _reference_values(self) -> Path:
        from enarx.host.image.layout import REFERENCE_VALUES

        return (self.image or self.directory) / REFERENCE_VALUES

    def _accepted(self) -> str:
        """What the policy says of the measurement: the image's own reference values, for this machine."""
        if self.image is None:
            return f'measurement = ["{self.measurement}"]'
        from enarx.host.qemu.machine import CPU_MODEL, Machine

        values = str(self._reference_values()).replace("\\", "\\\\").replace('"', '\\"')
        return f'include = {{ file = "{values}", model = ["{CPU_MODEL}"], vcpus = [{Machine().cpus}] }}'

    def manifest(self) -> bytes:
        """The digest of the manifest that this launch must have: the client knows what was deployed."""
        from enarx.host.attested import manifest_of
        from enarx.host.load import load_package
        from enarx.manifest import StewardPin

        package = load_package(module=self.module, config=self.config, directories=(), env=())
        return manifest_of(package, StewardPin(self.url, self.ca)).digest()

    def fetch(self, port: int, show: _Show) -> None:
        """The client's part: verify, then ask for the page. Raises HostError or EvidenceError."""
        from datetime import UTC, datetime
        from http.client import HTTPException, HTTPSConnection

        connection = HTTPSConnection(NAME, port, timeout=FETCH_SECONDS, context=self._context())
        try:
            connection.connect()
            tls: ssl.SSLSocket = connection.sock
            suite = (tls.cipher() or ("no cipher suite",))[0]
            show.step(
                f"Client: {(tls.version() or 'no TLS').replace('v', ' ')}, {suite}; the certificate is for {NAME}, and "
                "its chain ends in the Steward's CA"
            )
            subject = f"https://{NAME}:{port}"
            self._check(tls.getpeercert(binary_form=True) or b"", subject, datetime.now(UTC), show)
            connection.request("GET", "/", headers={"User-Agent": "enarx demo", "Connection": "close"})
            response = connection.getresponse()
            body = response.read(MAX_PAGE_BYTES)
            status = f"HTTP/{response.version / 10:.1f} {response.status} {response.reason}"
            show.step(f"Client: {status}, {len(body)} bytes in answer to GET /, over that same connection")
        except (OSError, HTTPException, ValueError) as error:
            raise HostError(
                f"the page could not be fetched: {error}", code="demo-fetch", hint="run `enarx demo` again"
            ) from error
        finally:
            connection.close()
        if response.status != 200:
            raise HostError(f"the workload answered {response.status} {response.reason}", code="demo-fetch")
        show.page(body.decode(errors="replace"))

    def _context(self) -> ssl.SSLContext:
        """Trusts the Steward's CA, and nothing else."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cafile=str(self.steward / "ca.pem"))
        return context

    def _check(self, certificate: bytes, subject: str, now: datetime, show: _Show) -> None:
        """What the client finds out from the certificate by himself."""
        from enarx.cli.keepcheck import check_keep
        from enarx.evidence.snp import Policy
        from enarx.evidence.snp.simulated import simulated_roots
        from enarx.trust.model import Kind

        expected, roots = self.manifest(), simulated_roots(self.root.read_bytes())
        policy = Policy(measurement=(bytes.fromhex(self.measurement),), host_data=(expected,), simulated=True)
        facts = check_keep(certificate, policy, roots, now)
        machine = Kind.PROCESS if self.image is None else Kind.VM_KEEP
        self.stack = facts.stack(subject, certificate, roots, now, machine)
        kind = "a SIMULATED SEV-SNP report" if facts.simulated else "a SEV-SNP report"
        show.step(
            f"Client: the evidence in the certificate is {kind}, signed under the root that the policy names; all "
            f"{len(facts.rules)} rules hold: the measurement is the Keep's, the report data is the certificate's key"
        )
        show.step(
            f"Client: evidence and certificate name manifest sha256:{expected.hex()[:16]}..., which is what was to be "
            "deployed: this workload, this Enarx.toml, this Steward"
        )

    def swap(self, show: _Show) -> None:
        """The host launches something else. Raises HostError unless that is refused."""
        from enarx.cli.child import start

        swapped = self.directory / self.module.name
        swapped.write_bytes(self.module.read_bytes() + SWAPPED)
        show.step("Host: the same again, with another workload in its place")
        with start(self.launch(swapped), errors=True) as keep:
            failure = keep.ending(LISTENING, self.seconds)
        if failure is None or failure.code != "steward-refused":
            raise failure or HostError("the swapped workload was not refused", code="demo-swap")
        show.step(f"Keep: it ended, and the workload never ran: {failure.message}")

    def decisions(self) -> str:
        """What the Steward's log comes to, once checked."""
        from enarx.cli.child import ask

        return ask("steward", "log", "--directory", str(self.steward), "--verify").strip()


def _image(args: argparse.Namespace) -> Path | None:
    """The image of a virtual machine. Raises HostError, and UsageError for a Keep that has none."""
    from enarx.errors import UsageError

    if args.backend == "process":
        if args.image:
            raise UsageError("--image goes with --backend vm")
        return None
    from enarx.host.image.layout import default_directory, open_image
    from enarx.host.load import path_of

    return open_image(path_of(args.image) if args.image else default_directory()).directory.absolute()


@contextmanager
def _until_interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        return


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

    def stack(self, stack: Stack) -> None:
        """Who had to be trusted for all of that, in short."""
        from enarx.trust.terminal import SYMBOLS, Style, render_short
        from enarx.trust.words import Words

        words = Words("en")
        self._print("")
        self._print(words("page.heading"), "1")
        style = Style(self._width, self._styled, ascii_only=not can_show(SYMBOLS))
        for line in render_short(stack, words, style):
            print(showable(line), flush=True)
        self._print(words("summary.more"))

    def _print(self, text: str, style: str = "", prefix: str = "", *, repeat: bool = False) -> None:
        import textwrap

        later = prefix if repeat else " " * len(prefix)
        safe = "".join(char if char.isprintable() else "?" for char in text)
        filled = textwrap.fill(
            safe, self._width, initial_indent=prefix, subsequent_indent=later, break_on_hyphens=False
        )  # fmt: skip
        wrapped = showable(filled)
        print(f"\x1b[{style}m{wrapped}\x1b[0m" if style and self._styled else wrapped, flush=True)
