"""``enarx demo``: the main job, from both ends, on one machine.

A tenant's Steward runs here, a host launches the example HTTPS workload before it, as a process or in a virtual
machine, and a client fetches its page after it has verified what runs there. Then the host swaps the workload, and is
found out. Each party is ``enarx`` in a process of its own, started as its owner would start it; only the secure
processor is simulated.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from enarx.cli.ending import ending_signals

if TYPE_CHECKING:
    from pathlib import Path


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
    from enarx.cli.demoscene import ADDRESS, LISTEN_SECONDS, LISTENING, NAME, SERVING, Scene
    from enarx.cli.demoshow import Show

    show = Show()
    with ExitStack() as stack:
        stack.enter_context(ending_signals())
        module = stack.enter_context(as_file(files("enarx") / "data" / "https-page.wasm"))
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="enarx-demo-")))
        scene = Scene(directory, module, args.backend, _image(args))
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
