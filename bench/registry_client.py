"""One transfer in a process of its own: prints its seconds, and how far it raised the memory of a bare Python (MB).

``python -m bench.registry_client VERB-WHO PACKAGE TARGET``; little is imported, for that is part of what is measured.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def _memory_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _ours(verb: str, package: Path, target: str) -> Callable[[], object]:
    from enarx.mediatype import PACKAGE
    from enarx.registry import Registry, Store, parse_reference

    reference, client = parse_reference(f"oci://{target}"), Registry()
    if verb == "push":
        return lambda: client.push_package(reference, package, PACKAGE)
    return lambda: client.pull(reference, Store())


def _oras(verb: str, package: Path, target: str) -> Callable[[], object]:
    import logging

    from oras.client import OrasClient

    logging.disable()
    client = OrasClient(insecure=True)
    if verb == "push":
        os.chdir(package.parent)  # it pushes nothing from elsewhere
        return lambda: client.push(target=target, files=[package.name], quiet=True)
    return lambda: client.pull(target=target, outdir=os.environ["HOME"])


def _command(verb: str, package: Path, target: str) -> Callable[[], object]:
    from enarx.cli.main import main

    reference = f"oci://{target}"
    arguments = [str(package), reference] if verb == "push" else [reference, "-o", f"{os.environ['HOME']}/copy"]

    def run() -> None:
        if main(["package", verb, *arguments]):
            raise SystemExit(1)

    return run


def _main() -> None:
    before = _memory_kb("VmRSS")
    (verb, who), package, target = sys.argv[1].split("-"), Path(sys.argv[2]), sys.argv[3]
    action = {"ours": _ours, "oras": _oras, "command": _command}[who](verb, package, target)
    begun = time.perf_counter()
    action()
    print(time.perf_counter() - begun, (_memory_kb("VmHWM") - before) / 1024)


if __name__ == "__main__":
    _main()
