"""What a package holds, and what its workload will be allowed to do."""

from __future__ import annotations

from dataclasses import dataclass

from enarx import archive
from enarx.archive import Entry
from enarx.config import MAX_CONFIG_BYTES, Config, parse
from enarx.errors import ConfigError, EnarxError, LimitError
from enarx.tenant.package.reader import Package
from enarx.tenant.package.rules import KeepRules, ModuleFacts, module_facts, problems, size_problems
from enarx.tenant.package.source import MAX_MODULE_BYTES


@dataclass(frozen=True, slots=True)
class Facts:
    """What is in a package whose contents can be read.

    ``config`` is None when ``Enarx.toml`` is wrong, and what stands for a missing one when there is none; ``module`` is
    None when ``main.wasm`` is no module. ``problems`` are why a Keep would not run it.
    """

    entries: tuple[Entry, ...]
    configured: bool
    config: Config | None
    module: ModuleFacts | None
    problems: tuple[EnarxError, ...]

    @property
    def has_files(self) -> bool:
        """Whether the workload has a root directory of its own."""
        return any(one.path == archive.FILES for one in self.entries)


def inspect(package: Package, rules: KeepRules) -> Facts | None:
    """The facts of a package; None when it is encrypted and was opened without its key."""
    if package.entries is None:
        return None
    found = size_problems(package.size)
    config = _config(package, found)
    module = package.entry(archive.MODULE)
    size = module.size if module else 0  # there always is one: the archive's reader sees to that
    facts = _module(package, module, rules, found) if module else None
    if config is not None:
        found += problems(config, size, facts, package.entries, rules)
    elif facts is not None:
        found += facts.problems
    configured = package.entry(archive.CONFIG) is not None
    return Facts(package.entries, configured, config, facts, tuple(found))


def _config(package: Package, found: list[EnarxError]) -> Config | None:
    entry = package.entry(archive.CONFIG)
    if entry is None:
        return Config.default()
    try:
        return parse(package.read(entry, MAX_CONFIG_BYTES + 1))
    except ConfigError as error:
        found.append(error)
        return None


def _module(package: Package, entry: Entry, rules: KeepRules, found: list[EnarxError]) -> ModuleFacts | None:
    if entry.size > MAX_MODULE_BYTES:
        what = f"the module has {entry.size} bytes, more than the {MAX_MODULE_BYTES} that `module` can allow"
        found.append(LimitError(what, code="limit-module", hint="build a smaller module"))
        return None
    try:
        return module_facts(package.read(entry, MAX_MODULE_BYTES), rules)
    except EnarxError as error:
        found.append(error)
        return None
