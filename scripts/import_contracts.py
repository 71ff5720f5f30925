"""Two kinds of contract for import-linter that say what may be imported, where its own say what may not.

The architecture is a list of permissions, and a module that nobody thought of must be refused, not let through.
Packages that do not exist yet are no error: their contract waits for them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


def within(module: str, packages: Iterable[str]) -> bool:
    """Whether ``module`` is one of ``packages`` or inside one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imports_of(graph: ImportGraph, importer: str, imported: str) -> str:
    details = graph.get_import_details(importer=importer, imported=imported)
    lines = ", ".join(f"line {detail['line_number']}" for detail in details)
    return f"{importer} imports {imported} ({lines})"


class PermissionContract(Contract):
    """What the two kinds share: a list of offending imports and how it is printed."""

    def offences(self, graph: ImportGraph) -> list[str]:
        raise NotImplementedError

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        found = self.offences(graph)
        return ContractCheck(kept=not found, metadata={"offences": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for offence in check.metadata["offences"]:
            output.print_error(f"- {offence}", bold=False)


class AllowedImports(PermissionContract):
    """The modules of ``source`` import nothing of ours but themselves and ``allowed``.

    With ``third_party``, the standard library and the packages it names are all they import from outside.
    The package ``enarx`` itself (its version) may always be imported.
    """

    source: Any = fields.ListField(subfield=fields.StringField())
    allowed: Any = fields.ListField(subfield=fields.StringField())
    third_party: Any = fields.ListField(subfield=fields.StringField(), required=False)

    def offences(self, graph: ImportGraph) -> list[str]:
        ours = set(self.session_options["root_packages"])
        offences = []
        for package in self.source:
            permitted = [package, *self.allowed]
            for importer in sorted(module for module in graph.modules if within(module, [package])):
                for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                    if imported in ours or within(imported, permitted):
                        continue
                    if within(imported, ours) or not self.may_come_from_outside(imported):
                        offences.append(imports_of(graph, importer, imported))
        return offences

    def may_come_from_outside(self, imported: str) -> bool:
        if self.third_party is None:
            return True
        return imported.partition(".")[0] in sys.stdlib_module_names or within(imported, self.third_party)


class AllowedImporters(PermissionContract):
    """``module``, ours or third-party, is imported by nothing of ours but itself and ``importers``."""

    module: Any = fields.StringField()
    importers: Any = fields.ListField(subfield=fields.StringField())

    def offences(self, graph: ImportGraph) -> list[str]:
        permitted = [self.module, *self.importers]
        reserved = sorted(module for module in graph.modules if within(module, [self.module]))
        return [
            imports_of(graph, importer, imported)
            for imported in reserved
            for importer in sorted(graph.find_modules_that_directly_import(imported))
            if not within(importer, permitted)
        ]
