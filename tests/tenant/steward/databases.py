"""Real databases for tests: an SQLite file, or a PostgreSQL server started for the test on a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.support import missing

SECONDS = 240
"""What no step of a server takes, however busy the machine is."""


def programs() -> Path:
    """Where Debian puts PostgreSQL's server programs, which are in nobody's PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        missing("PostgreSQL is not installed", "postgresql-15")
    return found[-1].parent


@contextmanager
def postgresql(*options: str) -> Iterator[str]:
    """The URL of a fresh database on a server of our own, which ends with the block. It listens on no network."""
    tools = programs()
    directory = Path(tempfile.mkdtemp(prefix="enarx-pg-"))
    # PostgreSQL refuses to run as root; Debian's package brings a user for it.
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None

    def run(*command: str) -> None:
        subprocess.run(
            command,
            check=True,
            timeout=SECONDS,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    if user:
        os.chown(directory, user.pw_uid, user.pw_gid)
    data, log = str(directory / "data"), str(directory / "log")
    control = (str(tools / "pg_ctl"), "-D", data, "-w")
    started = False
    try:
        run(str(tools / "initdb"), "-D", data, "-U", "steward", "-A", "trust", "--no-sync")
        settings = f"-c fsync=on -c listen_addresses= -k {directory} {' '.join(options)}"
        run(*control, "-l", log, "-o", settings, "start")
        started = True
        yield f"postgresql://steward@/postgres?host={quote(str(directory), safe='')}"
    finally:
        if started:
            run(*control, "-m", "immediate", "stop")
        shutil.rmtree(directory, ignore_errors=True)
