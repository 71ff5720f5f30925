"""Compile, link and run the workload; turn every way in which it can end into one ``Outcome``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import wasmtime

from enarx.errors import EnarxError, LimitError, WorkloadError
from enarx.keep.cache import CodeCache
from enarx.keep.engine import TABLE_ELEMENTS, Binder, CheckedBinder, HostFunction, UncheckedBinder, make_engine
from enarx.keep.wasi.context import Context, WorkloadExited, WorkloadStopped
from enarx.keep.wasi.descriptor import DescriptorTable
from enarx.keep.wasi.functions import functions
from enarx.keep.workload import check_module

EXIT_FAILED: Final = 1
"""Exit status when the workload could not be started."""
EXIT_LIMIT: Final = 124
"""Exit status when a limit of ``[limits]`` ended the workload."""
EXIT_NOT_PORTABLE: Final = 125
"""Exit status when the workload's own is above 125, which shells use for themselves."""
EXIT_TRAP: Final = 134
"""Exit status when the workload trapped: what a shell shows for an aborted process."""
EXIT_STOPPED: Final = 143
"""Exit status when the workload was told to stop; the host reports the signal that it got instead."""
UNKNOWN_OFFSET: Final = (1 << 64) - 1
"""What the engine gives for the frame in which the stack overflowed."""
MAX_NAME: Final = 200
"""Characters of a function's name that are shown."""
MAX_MESSAGE: Final = 4096
"""Characters of an engine's message that are shown."""
WASM_PAGE: Final = 1 << 16
"""Bytes of a page of linear memory."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a workload ended: exit status, and the error to show, if any."""

    status: int
    code: str = ""
    message: str = ""
    hint: str = ""

    @classmethod
    def of_error(cls, error: EnarxError) -> Outcome:
        """The outcome of an error that ended the workload or kept it from starting."""
        status = EXIT_LIMIT if isinstance(error, LimitError) else EXIT_FAILED
        return cls(status, error.code, error.message, error.hint)


class Runtime:
    """One workload in one engine. ``on_memory_limit`` is called on the workload's thread when memory runs out."""

    def __init__(
        self, context: Context, memory_limit: int, on_memory_limit: Callable[[], None], *, checked: bool = False
    ) -> None:
        self._context = context
        self._failure: BaseException | None = None
        self._limit = memory_limit
        self._limit_hit = False
        self._on_memory_limit = on_memory_limit
        self._binder: Binder = CheckedBinder() if checked else UncheckedBinder()
        self._engine, self._creator = make_engine(memory_limit, self._memory_limit_hit)
        self._store = wasmtime.Store(self._engine)
        self._store.set_limits(table_elements=TABLE_ELEMENTS, instances=1, tables=100, memories=1)
        self._functions = functions(context)

    def _memory_limit_hit(self) -> None:
        self._limit_hit = True
        self._on_memory_limit()

    def memory_error(self) -> LimitError:
        """The error that tells that linear memory reached its limit."""
        return LimitError(
            f"the workload's memory reached the limit `memory` of {self._limit} bytes",
            code="limit-memory",
            hint="raise `memory` under [limits] in Enarx.toml",
        )

    def load(self, module: bytes | bytearray | memoryview, cache: CodeCache | None) -> tuple[wasmtime.Module, bool]:
        """The compiled module, and whether it came from the cache. Raises WorkloadError."""
        code = cache.load(module) if cache else None
        if code is not None:
            with contextlib.suppress(wasmtime.WasmtimeError):  # compiled by another version, or for another CPU
                return wasmtime.Module.deserialize(self._engine, code), True
        try:
            compiled = wasmtime.Module(self._engine, bytes(module))
        except wasmtime.WasmtimeError as error:
            raise _invalid(error) from error
        if cache:
            cache.store(module, compiled.serialize())
        return compiled, False

    def check(self, module: wasmtime.Module) -> None:
        """Raise WorkloadError unless everything that the module imports is offered, and it can be started."""
        for problem in _problems(module, self._functions):
            raise problem

    def run(self, module: wasmtime.Module) -> Outcome:
        """Instantiate and call the entry function. Never raises; call it on the workload's own thread."""
        outcome = self._run(module)
        # The engine only refuses the memory; what the workload made of that is not how it ended.
        return Outcome.of_error(self.memory_error()) if self._limit_hit else outcome

    def _run(self, module: wasmtime.Module) -> Outcome:
        try:
            linker = wasmtime.Linker(self._engine)
            self._binder.bind(linker, self._functions, self._context.memory, self._fail)
            instance = linker.instantiate(self._store, module)
            entry = instance.exports(self._store)[_entry_name(module)]
            assert isinstance(entry, wasmtime.Func)  # noqa: S101 - _entry_name has looked
            entry(self._store)
        except EnarxError as error:
            return Outcome.of_error(error)
        except BaseException as error:  # noqa: BLE001 - the thread's last handler: everything becomes an outcome
            return self._outcome(error)
        return Outcome(0)

    def _fail(self, error: BaseException) -> None:
        self._failure = error

    def _outcome(self, error: BaseException) -> Outcome:
        cause = self._failure or error
        if isinstance(cause, WorkloadExited):
            return _exited(cause.code)
        if isinstance(cause, WorkloadStopped):
            return Outcome(EXIT_STOPPED, "stopped", "the workload was stopped")
        if isinstance(cause, EnarxError):
            return Outcome.of_error(cause)
        if isinstance(cause, wasmtime.Trap):
            return Outcome(EXIT_TRAP, "trap", _describe(cause), "")
        if isinstance(cause, wasmtime.WasmtimeError) and self._creator.shortage:
            return Outcome(
                EXIT_FAILED, "memory-shortage", f"the workload gets no memory: {self._creator.shortage}",
                "lift limits on the Keep's address space (`ulimit -v`) or memory, or stop other programs",
            )  # fmt: skip
        if isinstance(cause, wasmtime.WasmtimeError):
            return Outcome(
                EXIT_FAILED, "wasm-link", f"failed to link Wasm module: {_one_line(cause)}",
                "an import has another type than WASI gives it, or the module needs more than the engine allows",
            )  # fmt: skip
        return Outcome(
            EXIT_FAILED, "keep-internal", f"the Keep failed inside a host call: {type(cause).__name__}",
            "this is a fault of the Keep, not of the workload; please report it",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What a module asks for: names as ``module::name``, and how much memory it has at the start, in bytes.

    ``problems`` keep it from running in a Keep; there are none in a module that does.
    """

    imports: tuple[str, ...]
    memory_bytes: int
    problems: tuple[WorkloadError, ...]


def validate_module(module: bytes) -> None:
    """Raise WorkloadError unless ``module`` is valid with the features that Keeps offer. Nothing is compiled."""
    check_module(module)
    try:
        wasmtime.Module.validate(_engine(), module)
    except wasmtime.WasmtimeError as error:
        raise _invalid(error) from error


def inspect_module(module: bytes) -> ModuleFacts:
    """Compile ``module``, for those who want to know whether a Keep would run it. Raises WorkloadError."""
    check_module(module)
    try:
        compiled = wasmtime.Module(_engine(), module)
    except wasmtime.WasmtimeError as error:
        raise _invalid(error) from error
    offered = functions(Context(DescriptorTable(0)))
    problems = [*_problems(compiled, offered), *_misfits(compiled, offered)]
    memory = next((one.type for one in compiled.exports if one.name == "memory"), None)
    pages = memory.limits.min if isinstance(memory, wasmtime.MemoryType) else 0
    imports = tuple(f"{wanted.module}::{wanted.name}" for wanted in compiled.imports)
    return ModuleFacts(imports, pages * WASM_PAGE, tuple(problems))


def _engine() -> wasmtime.Engine:
    """An engine that runs nothing: its memory limit never counts."""
    return make_engine(0, lambda: None)[0]


def _problems(module: wasmtime.Module, offered: Iterable[HostFunction]) -> Iterator[WorkloadError]:
    """What the module lacks before it could be linked."""
    names = {(function.module, function.name) for function in offered}
    for wanted in module.imports:
        if (wanted.module, wanted.name) not in names:
            yield WorkloadError(
                f"the module imports `{wanted.module}::{wanted.name}`, which Keeps do not offer",
                code="wasm-import",
                hint="Keeps offer WASI preview 1 (wasi_snapshot_preview1) and nothing else",
            )
    try:
        _entry_name(module)
    except WorkloadError as error:
        yield error


def _misfits(module: wasmtime.Module, offered: Iterable[HostFunction]) -> Iterator[WorkloadError]:
    """What the engine would find when it links the module, or the workload in its first call."""
    types = {(one.module, one.name): (_types(one.params), ["i32"] if one.returns else []) for one in offered}
    for wanted in module.imports:
        kind, expected = wanted.type, types.get((wanted.module, wanted.name or ""))
        found = ([*map(str, kind.params)], [*map(str, kind.results)]) if isinstance(kind, wasmtime.FuncType) else None
        if expected is not None and found != expected:
            yield WorkloadError(
                f"the module imports `{wanted.module}::{wanted.name}` with another type than WASI gives it",
                code="wasm-link",
                hint="build it for WASI preview 1, and with a library of that version",
            )
    if module.imports and not any(
        one.name == "memory" and isinstance(one.type, wasmtime.MemoryType) for one in module.exports
    ):
        yield WorkloadError(
            "the module calls the system but exports no memory named `memory`",
            code="workload-memory",
            hint="build it as a WASI command (wasm32-wasi); its memory must be exported",
        )


def _types(params: str) -> list[str]:
    return [{"i": "i32", "I": "i64"}[one] for one in params]


def _invalid(error: wasmtime.WasmtimeError) -> WorkloadError:
    return WorkloadError(
        f"failed to compile Wasm module: {_one_line(error)}",
        code="wasm-invalid",
        hint="the file is damaged, or uses a feature that Keeps do not offer",
    )


def _entry_name(module: wasmtime.Module) -> str:
    """``_start``, or the unnamed default export that Enarx also calls. Raises WorkloadError."""
    exports = {export.name: export.type for export in module.exports}
    for name in ("_start", ""):
        kind = exports.get(name)
        if isinstance(kind, wasmtime.FuncType):
            if kind.params:
                raise WorkloadError("the module's start function takes parameters", code="wasm-entry")
            return name
    raise WorkloadError(
        "failed to execute default function: the module exports neither `_start` nor a default function",
        code="wasm-entry",
        hint="build a program (a WASI command), not a library",
    )


def _exited(code: int) -> Outcome:
    if code <= EXIT_NOT_PORTABLE:
        return Outcome(code)
    return Outcome(
        EXIT_NOT_PORTABLE, "exit-not-portable", f"the workload exited with {code}, which is above 125",
        "exit statuses above 125 are the shell's own; 125 stands for all of them",
    )  # fmt: skip


def _describe(trap: wasmtime.Trap) -> str:
    """A trap's name and its wasm backtrace."""
    code = trap.trap_code
    name = code.name.lower().replace("_", " ") if code else "host call failed"
    lines = [f"the workload trapped: {name}", "wasm backtrace:"]
    for index, frame in enumerate(trap.frames):  # the innermost 20: the engine keeps no more
        offset = "-" if frame.module_offset == UNKNOWN_OFFSET else f"{frame.module_offset:#x}"
        function = (frame.func_name or f"function {frame.func_index}")[:MAX_NAME]
        lines.append(f"  {index}: {offset:>8} - {function}")
    return "\n".join(lines)


def _one_line(error: Exception) -> str:
    """The engine's message and its causes, each of which it writes below the last."""
    return " ".join(str(error).split()).replace(" Caused by: ", ": ")[:MAX_MESSAGE]
