"""Whether a Keep would run a workload, by the rules of the Keep's own code.

The tenant's part never imports the Keep: the command line, which may, brings the two together in `KeepRules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from enarx import archive
from enarx.archive import Entry
from enarx.config import Config, Limits
from enarx.errors import ConfigError, EnarxError, LimitError, WorkloadError
from enarx.tenant.package.outline import outline


class ModuleFacts(Protocol):
    """What a module asks for: imports as ``module::name``, its first memory in bytes, and what a Keep refuses."""

    @property
    def imports(self) -> tuple[str, ...]: ...

    @property
    def memory_bytes(self) -> int: ...

    @property
    def problems(self) -> tuple[WorkloadError, ...]: ...


@dataclass(frozen=True, slots=True)
class KeepRules:
    """The Keep's own functions.

    ``validate_module`` raises WorkloadError for an invalid module; ``inspect_module`` compiles one and tells what it
    asks for; ``entry_cost`` is what a name and so many bytes count against the limit ``filesystem``.
    """

    validate_module: Callable[[bytes], None]
    inspect_module: Callable[[bytes], ModuleFacts]
    entry_cost: Callable[[str, int], int]


def module_facts(module: bytes, rules: KeepRules) -> ModuleFacts:
    """What a module asks for; WorkloadError or MalformedError for one that is none."""
    rules.validate_module(module)
    return rules.inspect_module(outline(module))


def problems(
    config: Config, module_bytes: int, facts: ModuleFacts | None, entries: Iterable[Entry], rules: KeepRules
) -> list[EnarxError]:
    """Everything that keeps the workload from running; ``facts`` is None when the module is none.

    How large the package is, `size_problems` judges.
    """
    return [
        *_config_problems(config),
        *_module_problems(config.limits, module_bytes, facts),
        *_file_problems(config.limits, entries, rules),
    ]


def size_problems(package_bytes: int) -> list[EnarxError]:
    """What is wrong with the size of a package, as it is published."""
    if package_bytes <= archive.MAX_BYTES:
        return []
    what = f"the package has {package_bytes} bytes, and a Keep takes {archive.MAX_BYTES} at most"
    return [LimitError(what, code="limit-package", hint="give the workload fewer files")]


def _config_problems(config: Config) -> Iterable[EnarxError]:
    for path in config.ca_paths():
        yield ConfigError(
            f"Enarx.toml names the certificate file {path!a}, and a package has no place for it",
            code="package-ca",
            hint='write the certificate itself into Enarx.toml: ca = ["""-----BEGIN CERTIFICATE----- ..."""]',
        )


def _module_problems(limits: Limits, size: int, facts: ModuleFacts | None) -> Iterable[EnarxError]:
    if size > limits.module_bytes:
        yield LimitError(
            f"the module has {size} bytes, more than the limit `module` of {limits.module_bytes}",
            code="limit-module",
            hint="raise `module` under [limits] in Enarx.toml, or build a smaller module",
        )
    if facts is None:
        return
    yield from facts.problems
    if facts.memory_bytes > limits.memory_bytes:
        yield LimitError(
            f"the module begins with {facts.memory_bytes} bytes of memory, more than the limit `memory` of "
            f"{limits.memory_bytes}",
            code="limit-memory",
            hint="raise `memory` under [limits] in Enarx.toml",
        )


def _file_problems(limits: Limits, entries: Iterable[Entry], rules: KeepRules) -> Iterable[EnarxError]:
    used = sum(
        rules.entry_cost(entry.path.rpartition("/")[2], entry.size)
        for entry in entries
        if entry.path.startswith(f"{archive.FILES}/")
    )
    if used > limits.filesystem_bytes:
        yield LimitError(
            f"the files count {used} bytes, more than the limit `filesystem` of {limits.filesystem_bytes}",
            code="limit-filesystem",
            hint="raise `filesystem` under [limits] in Enarx.toml, or give the workload fewer files",
        )
