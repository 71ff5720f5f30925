"""What the workload may do: the narrower of what Enarx.toml asks for and what the manifest permits.

Enarx.toml comes from the workload's author, the manifest from whoever deploys it. Each error says which of them
refuses.
"""

from __future__ import annotations

from dataclasses import replace

from enarx.config import Config, ConnectFile, Limits, ListenFile
from enarx.errors import ConfigError
from enarx.manifest import Manifest


def narrow_limits(limits: Limits, manifest: Manifest) -> Limits:
    """The lower of each limit; a deadline holds when either sets one."""
    bounds = manifest.limits
    if bounds is None:
        return limits
    deadlines = [
        seconds
        for seconds in (limits.deadline_seconds, None if bounds.deadline is None else bounds.deadline / 1000)
        if seconds is not None
    ]
    return Limits(
        memory_bytes=min(limits.memory_bytes, bounds.memory),
        filesystem_bytes=min(limits.filesystem_bytes, bounds.filesystem),
        open_descriptors=min(limits.open_descriptors, bounds.descriptors),
        deadline_seconds=min(deadlines, default=None),
        module_bytes=min(limits.module_bytes, bounds.module),
    )


def check_streams(config: Config, manifest: Manifest) -> None:
    """Every socket that Enarx.toml asks for is one that the manifest permits. Raises StreamError (``manifest-...``).

    For before the first is opened: a workload either gets its streams or does not start.
    """
    for file in config.files:
        if isinstance(file, ListenFile):
            manifest.check_listen(file.port)
        elif isinstance(file, ConnectFile):
            manifest.check_connect(file.host, file.port)


def check_steward(config: Config, manifest: Manifest) -> None:
    """An author who asks for a Steward is not given a Keep that certifies itself. Raises ConfigError.

    Which Steward it is, the manifest says: the deployer chooses, and the choice is part of the evidence.
    """
    if config.steward is not None and manifest.steward is None:
        raise ConfigError(
            f"Enarx.toml asks for a certificate by the Steward {config.steward}, and the manifest names none",
            code="manifest-steward",
            hint="deploy with --steward and the digest of its CA's key, or without `steward` in Enarx.toml",
        )


def narrow(config: Config, manifest: Manifest) -> Config:
    """``config`` as it holds in this Keep: checked against the manifest, with its limits. All errors of the above.

    More files than the narrowed limit of descriptors are refused as in Enarx.toml itself (``config-limit``).
    """
    check_steward(config, manifest)
    check_streams(config, manifest)
    limits = narrow_limits(config.limits, manifest)
    if len(config.files) > limits.open_descriptors:
        raise ConfigError(
            f"{len(config.files)} files are more than the manifest permits descriptors, {limits.open_descriptors}",
            code="config-limit",
            hint="deploy with a manifest that permits more descriptors",
        )
    return replace(config, limits=limits)
