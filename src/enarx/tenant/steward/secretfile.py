"""Adds a secret to a Steward's policy: its bytes as a private file beside it, and the table that names it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from enarx.errors import ConfigError
from enarx.tenant.policytables import SECRET_MAX_BYTES, is_name
from enarx.tenant.steward.files import read_policy, replace, write_new

FOLDER: Final = "secrets"
"""Where the bytes of secrets are, beside the policy."""


def add_secret(
    policy_file: Path,
    name: str,
    value: bytes,
    workloads: Sequence[str],
    *,
    simulated: bool = False,
    new_workload: tuple[str, str] | None = None,
) -> None:
    """Release ``value`` as ``name`` to ``workloads`` of the policy, or leave policy and secrets as they were.

    ``new_workload`` is a workload's name and a digest (``sha256:...``) that the policy is to accept under it.
    ConfigError (``secret-exists``, ``secret-name``, ``secret-size``, and all that is wrong with a policy).
    """
    with _alone(policy_file.parent):
        policy = read_policy(policy_file)
        if any(one.name == name for one in policy.secrets):
            raise ConfigError(f"there is a secret {name}", code="secret-exists", hint="remove it from the policy first")
        known = {one.name for one in policy.workloads} | ({new_workload[0]} if new_workload else set())
        if set(workloads) - known or not all(map(is_name, (name, *known))):
            raise ConfigError(
                f"the secret's name, or a workload of {', '.join(workloads)}, is not right",
                code="secret-name",
                hint=f"workloads of the policy: {', '.join(sorted(known)) or 'none'}",
            )
        if not 1 <= len(value) <= SECRET_MAX_BYTES:
            raise ConfigError("a secret has 1 to 65536 bytes", code="secret-size", hint="put larger things elsewhere")
        tables = _workload_table(*new_workload) if new_workload else ""
        tables += _secret_table(name, workloads, simulated=simulated)
        _write(policy_file, policy.text + tables, policy_file.parent / FOLDER / name, value)


def _workload_table(name: str, digest: str) -> str:
    return f'\n[workload."{name}"]\ndigest = ["{digest}"]\n'


def _secret_table(name: str, workloads: Sequence[str], *, simulated: bool) -> str:
    listed = ", ".join(f'"{one}"' for one in workloads)
    more = "simulated = true\n" if simulated else ""
    return f'\n[[secret]]\nname = "{name}"\nfile = "{FOLDER}/{name}"\nworkloads = [{listed}]\n{more}'


def _write(policy_file: Path, text: str, place: Path, value: bytes) -> None:
    """The secret first, then the policy, once it has been read as a whole."""
    candidate = policy_file.with_name(f".{policy_file.name}.new")
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(place.parent, error) from error
    write_new(place, value, 0o600)
    try:
        replace(candidate, text.encode(), 0o600)
        read_policy(candidate)
        candidate.replace(policy_file)
    except BaseException as error:
        place.unlink()
        candidate.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(policy_file, error) from error
        raise


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Only one process at a time changes the policy of ``directory``, so that no change is lost."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        hint = "name what `enarx steward init` made"
        raise ConfigError(f"cannot read {directory}: {error.strerror}", code="file-unreadable", hint=hint) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unwritable(place: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write {place}: {error.strerror}", code="file-unwritable", hint="check the directory")
