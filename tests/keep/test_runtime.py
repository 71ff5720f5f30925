"""Every way in which a workload can start, fail to start, and end. Both ways of calling into the Keep."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
import wasmtime

from enarx.errors import WorkloadError
from enarx.keep import engine
from enarx.keep.runtime import (
    EXIT_FAILED,
    EXIT_LIMIT,
    EXIT_NOT_PORTABLE,
    EXIT_STOPPED,
    EXIT_TRAP,
    MAX_MESSAGE,
    MAX_NAME,
    Outcome,
    Runtime,
    inspect_module,
    validate_module,
)
from enarx.keep.wasi.abi import Rights
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import Descriptor, DescriptorTable, Null
from enarx.keep.wasi.openfile import preopen
from enarx.keep.wasi.tree import FileSystem

PAGE = 65536
MEMORY = 16 * PAGE
WASI = "wasi_snapshot_preview1"
EXIT = f'(import "{WASI}" "proc_exit" (func $exit (param i32)))'
WRITE = f'(import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'


class Written(Null):
    """A standard stream that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, views: list[memoryview]) -> int:
        self.data += b"".join(views)
        return super().write(views)


class Machine:
    """A runtime and what is around it."""

    def __init__(self, checked: bool) -> None:
        self.stdout = Written()
        self.fs = FileSystem(10_000, itertools.count().__next__)
        table = DescriptorTable(8)
        for descriptor in (Null(), self.stdout, Null(), preopen(self.fs, self.fs.root, b"/")):
            table.add(descriptor)
        self.context = Context(table)
        self.refused = 0
        self.runtime = Runtime(self.context, MEMORY, self._refused, checked=checked)

    def _refused(self) -> None:
        self.refused += 1

    def run(self, text: str) -> Outcome:
        """Load, check and run a module, as a Keep does it: on a thread of its own."""
        module, cached = self.runtime.load(bytes(wasmtime.wat2wasm(text)), None)
        assert not cached
        self.runtime.check(module)
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(self.runtime.run(module)))
        thread.start()
        thread.join()
        return outcomes[0]


@pytest.fixture(params=["unchecked", "checked"])
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(request.param == "checked")


def command(body: str, *, imports: str = "", more: str = "", memory: str = '(memory (export "memory") 1)') -> str:
    return f'(module {imports} {memory} {more} (func (export "_start") {body}))'


# Ordinary ends


def test_returning_is_success(machine: Machine) -> None:
    assert machine.run(command("")) == Outcome(0)


@pytest.mark.parametrize("code", [0, 1, 77, 125])
def test_an_exit_status_is_passed_on(machine: Machine, code: int) -> None:
    assert machine.run(command(f"(call $exit (i32.const {code}))", imports=EXIT)) == Outcome(code)


@pytest.mark.parametrize("code", [126, 134, 255, 256, 0xFFFFFFFF])
def test_an_exit_status_that_shells_use_is_replaced_and_told(machine: Machine, code: int) -> None:
    outcome = machine.run(command(f"(call $exit (i32.const {code}))", imports=EXIT))
    assert (outcome.status, outcome.code) == (EXIT_NOT_PORTABLE, "exit-not-portable")
    assert f"exited with {code}" in outcome.message


def test_a_default_function_is_called_and_its_result_ignored(machine: Machine) -> None:
    assert machine.run('(module (func (export "") (result i32) (i32.const 1)))') == Outcome(0)


def test_start_comes_before_the_default_function(machine: Machine) -> None:
    assert machine.run('(module (func (export "") unreachable) (func (export "_start")))') == Outcome(0)


def test_a_workload_writes_to_its_descriptors(machine: Machine) -> None:
    data = r'(data (i32.const 8) "hello\n") (data (i32.const 0) "\08\00\00\00\06\00\00\00")'
    call = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))"
    assert machine.run(command(call, imports=WRITE, more=data)) == Outcome(0)
    assert machine.stdout.data == b"hello\n"


def test_a_start_function_may_call_the_system_before_the_module_is_ready(machine: Machine) -> None:
    """A start section runs during instantiation, when only the caller's own exports can be found."""
    data = r'(data (i32.const 8) "early\n") (data (i32.const 0) "\08\00\00\00\06\00\00\00")'
    early = "(func $early (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))) (start $early)"
    assert machine.run(command("", imports=WRITE, more=data + early)) == Outcome(0)
    assert machine.stdout.data == b"early\n"


def test_a_start_function_may_end_the_workload(machine: Machine) -> None:
    early = "(func $early (call $exit (i32.const 7))) (start $early)"
    assert machine.run(command("unreachable", imports=EXIT, more=early)) == Outcome(7)


# Traps


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("unreachable", "unreachable"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer division by zero"),
        ("(drop (i32.load (i32.const 65535)))", "memory out of bounds"),
        ("(drop (i32.load offset=0xffffffff (i32.const -1)))", "memory out of bounds"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "bad conversion to integer"),
        ("(call_indirect (i32.const 5))", "table out of bounds"),
        ("(call $deep)", "stack overflow"),
    ],
)
def test_a_trap_is_named_and_shows_where(machine: Machine, body: str, name: str) -> None:
    outcome = machine.run(
        f"""(module (memory (export "memory") 1) (table 1 funcref)
            (func $deep (call $deep)) (func $inner {body}) (func $main (export "_start") (call $inner)))"""
    )
    assert (outcome.status, outcome.code) == (EXIT_TRAP, "trap")
    lines = outcome.message.splitlines()
    assert lines[0] == f"the workload trapped: {name}"
    assert lines[1] == "wasm backtrace:"
    if body != "(call $deep)":
        assert lines[2].endswith("- inner")
        assert lines[3].endswith("- main")


def test_functions_without_a_name_are_numbered(machine: Machine) -> None:
    assert machine.run('(module (func (export "_start") unreachable))').message.endswith("- function 0")


def test_a_deep_backtrace_and_a_long_name_are_cut(machine: Machine) -> None:
    name = "n" * 5000
    outcome = machine.run(f'(module (func ${name} (export "_start") (call ${name})))')
    lines = outcome.message.splitlines()
    assert lines[0] == "the workload trapped: stack overflow"
    assert lines[2].split() == ["0:", "-", "-", "n" * MAX_NAME]
    assert 10 < len(lines) < 50
    assert max(map(len, lines)) < MAX_NAME + 30


# Modules that cannot be started


@pytest.mark.parametrize(
    "module",
    [
        b"",
        b"\0asm",
        b"\0asm\x01\0\0\0\xff",
        bytes(wasmtime.wat2wasm("(module (func))"))[:-1],
        b"\0asm\x0d\0\x01\0",
        b"GIF89a" + bytes(100),
    ],
)
def test_what_is_no_module_is_refused(machine: Machine, module: bytes) -> None:
    with pytest.raises(WorkloadError, match="failed to compile Wasm module") as refused:
        machine.runtime.load(module, None)
    assert refused.value.code == "wasm-invalid"
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < MAX_MESSAGE + 100


@pytest.mark.parametrize(
    "text",
    [
        "(module (memory 1 1 shared))",
        "(module (memory i64 1))",
        "(module (memory 1) (memory 1))",
        "(module (func $f (return_call $f)))",
        "(module (type (struct (field i32))))",
        "(module (tag $e) (func (throw $e)))",
        "(module (func (result v128) (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
        "(module (func (param i64 i64 i64 i64) (result i64 i64)"
        " (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))",
        "(module (memory 1 (pagesize 1)))",
        "(module (func $f) (elem declare func $f) (func (call_ref 0 (ref.func $f))))",
    ],
)
def test_features_that_keeps_do_not_offer_are_refused(machine: Machine, text: str) -> None:
    with pytest.raises(WorkloadError, match="failed to compile"):
        machine.runtime.load(bytes(wasmtime.wat2wasm(text)), None)


def test_features_that_keeps_offer_work(machine: Machine) -> None:
    body = """
        (drop (i8x16.add (v128.const i64x2 1 2) (v128.const i64x2 3 4)))
        (memory.fill (i32.const 0) (i32.const 0) (i32.const 10))
        (drop (ref.is_null (ref.null func)))
        (call $two) (drop) (drop)"""
    assert machine.run(command(body, more="(func $two (result i32 i32) i32.const 1 i32.const 2)")) == Outcome(0)


@pytest.mark.parametrize(
    ("imported", "name"),
    [
        (f'(import "{WASI}" "sock_open" (func))', f"{WASI}::sock_open"),
        ('(import "env" "printf" (func))', "env::printf"),
        ('(import "wasi_unstable" "fd_write" (func))', "wasi_unstable::fd_write"),
        ('(import "env" "memory" (memory 1))', "env::memory"),
        ('(import "env" "table" (table 1 funcref))', "env::table"),
    ],
)
def test_an_import_that_keeps_do_not_offer_is_named(machine: Machine, imported: str, name: str) -> None:
    with pytest.raises(WorkloadError) as refused:
        machine.run(f'(module {imported} (func (export "_start")))')
    assert refused.value.code == "wasm-import"
    assert f"`{name}`" in refused.value.message


def test_an_import_of_another_type_is_an_error_that_names_it(machine: Machine) -> None:
    outcome = machine.run(command("", imports=f'(import "{WASI}" "fd_write" (func (param i64)))'))
    assert (outcome.status, outcome.code) == (EXIT_FAILED, "wasm-link")
    assert "fd_write" in outcome.message


@pytest.mark.parametrize(
    "text",
    ["(module)", '(module (func (export "main")))', '(module (global (export "_start") i32 (i32.const 0)))'],
)
def test_a_module_without_an_entry_is_refused(machine: Machine, text: str) -> None:
    with pytest.raises(WorkloadError, match="neither `_start` nor a default function") as refused:
        machine.run(text)
    assert refused.value.code == "wasm-entry"


def test_an_entry_with_parameters_is_refused(machine: Machine) -> None:
    with pytest.raises(WorkloadError, match="takes parameters"):
        machine.run('(module (func (export "_start") (param i32)))')


@pytest.mark.parametrize("memory", ["", "(memory 1)", '(memory (export "other") 1)', '(func (export "memory"))'])
def test_a_module_that_exports_no_memory_cannot_call_the_system(machine: Machine, memory: str) -> None:
    outcome = machine.run(command("(call $exit (i32.const 0))", imports=EXIT, memory=memory))
    assert (outcome.status, outcome.code) == (EXIT_FAILED, "workload-memory")


def test_a_memory_of_no_pages_is_a_memory(machine: Machine) -> None:
    outcome = machine.run(command("(call $exit (i32.const 3))", imports=EXIT, memory='(memory (export "memory") 0)'))
    assert outcome == Outcome(3)


def test_a_memory_that_begins_empty_can_grow_and_be_used(machine: Machine) -> None:
    body = """(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
        (drop (memory.grow (i32.const 1)))
        (i32.store (i32.const 4) (i32.const 3))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))"""
    assert machine.run(command(body, imports=WRITE, memory='(memory (export "memory") 0)')) == Outcome(0)
    assert machine.stdout.data == b"\0\0\0"


def test_a_module_that_was_not_checked_still_ends_in_an_outcome(machine: Machine) -> None:
    module, _ = machine.runtime.load(bytes(wasmtime.wat2wasm("(module)")), None)
    assert machine.runtime.run(module).code == "wasm-entry"


# Limits


@pytest.mark.parametrize("checked", [False, True])
def test_a_memory_that_the_machine_has_no_room_for_is_no_fault_of_the_module(
    checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MEMORY_RESERVATION", 1 << 60)
    machine = Machine(checked)
    outcome = machine.run(command("", memory='(memory (export "memory") 1)'))
    assert (outcome.status, outcome.code) == (EXIT_FAILED, "memory-shortage")
    assert "no address space" in outcome.message
    assert (machine.refused, bool(outcome.hint)) == (0, True)


def test_a_memory_that_starts_too_large_is_a_limit(machine: Machine) -> None:
    outcome = machine.run(command("", memory=f'(memory (export "memory") {MEMORY // PAGE + 1})'))
    assert (outcome.status, outcome.code) == (EXIT_LIMIT, "limit-memory")
    assert "`memory`" in outcome.message
    assert machine.refused == 1


@pytest.mark.parametrize("then", ["", "(call $exit (i32.const 0))", "unreachable"])
def test_a_memory_that_grows_too_large_is_a_limit_whatever_the_workload_does_next(machine: Machine, then: str) -> None:
    body = f"(drop (memory.grow (i32.const {MEMORY // PAGE})))" + then
    outcome = machine.run(command(body, imports=EXIT))
    assert (outcome.status, outcome.code) == (EXIT_LIMIT, "limit-memory")
    assert machine.refused == 1


def test_memory_up_to_the_limit_can_be_used(machine: Machine) -> None:
    body = f"""(if (i32.ne (memory.grow (i32.const {MEMORY // PAGE - 1})) (i32.const 1)) (then unreachable))
        (i32.store8 (i32.const {MEMORY - 1}) (i32.const 1))"""
    assert machine.run(command(body)) == Outcome(0)
    assert machine.refused == 0


def test_a_memory_may_declare_that_it_will_not_grow(machine: Machine) -> None:
    body = "(if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))"
    assert machine.run(command(body, memory='(memory (export "memory") 1 1)')) == Outcome(0)


OPEN = f'(import "{WASI}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))'
OPEN_FILE = (
    f"(drop (call $open (i32.const 3) (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 1)"
    f" (i64.const {Rights.FILE}) (i64.const 0) (i32.const 0) (i32.const 16)))"
)


def test_too_many_descriptors_are_a_limit(machine: Machine) -> None:
    loop = f"(loop {OPEN_FILE} (br 0))"
    outcome = machine.run(command(loop, imports=OPEN, more='(data (i32.const 8) "f")'))
    assert (outcome.status, outcome.code) == (EXIT_LIMIT, "limit-descriptors")
    assert "`descriptors`" in outcome.hint


def test_too_many_bytes_of_files_are_a_limit(machine: Machine) -> None:
    loop = f"{OPEN_FILE} (loop (drop (call $write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 16))) (br 0))"
    data = r'(data (i32.const 8) "f") (data (i32.const 0) "\00\00\00\00\00\10\00\00")'
    outcome = machine.run(command(loop, imports=OPEN + WRITE, more=data))
    assert (outcome.status, outcome.code) == (EXIT_LIMIT, "limit-filesystem")


def test_a_table_has_a_largest_size(machine: Machine) -> None:
    outcome = machine.run('(module (table 4000000000 funcref) (func (export "_start")))')
    assert (outcome.status, outcome.code) == (EXIT_FAILED, "wasm-link")


# Being stopped, and faults of ours


def test_a_workload_that_was_stopped_says_so(machine: Machine) -> None:
    machine.context.wake()
    poll = f'(import "{WASI}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
    body = "(drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))"
    outcome = machine.run(command(body, imports=poll))
    assert (outcome.status, outcome.code) == (EXIT_STOPPED, "stopped")


def test_a_fault_of_the_keep_is_called_that_and_shows_no_more_than_its_kind(machine: Machine) -> None:
    class Faulty(Descriptor):
        def write(self, views: list[memoryview]) -> int:
            raise KeyError("a secret of the Keep")

    machine.context.table.add(Faulty(Rights.FD_WRITE))
    body = "(drop (call $write (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 16)))"
    outcome = machine.run(command(body, imports=WRITE))
    assert (outcome.status, outcome.code) == (EXIT_FAILED, "keep-internal")
    assert outcome.message == "the Keep failed inside a host call: KeyError"


# Looked at from outside a Keep


def inspected(text: str) -> list[str]:
    """The codes of what keeps a module from running."""
    return [problem.code for problem in inspect_module(bytes(wasmtime.wat2wasm(text))).problems]


def test_a_module_is_inspected_as_a_keep_would_see_it() -> None:
    facts = inspect_module(
        bytes(wasmtime.wat2wasm(command("", imports=EXIT + WRITE, memory='(memory (export "memory") 3 9)')))
    )
    assert facts.imports == (f"{WASI}::proc_exit", f"{WASI}::fd_write")
    assert facts.memory_bytes == 3 * PAGE
    assert facts.problems == ()


def test_a_module_without_memory_has_none() -> None:
    facts = inspect_module(bytes(wasmtime.wat2wasm('(module (func (export "_start")))')))
    assert (facts.imports, facts.memory_bytes, facts.problems) == ((), 0, ())


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ('(module (import "env" "f" (func)) (import "env" "g" (global i32)))',
         ["wasm-import", "wasm-import", "wasm-entry", "workload-memory"]),
        (command("", imports=f'(import "{WASI}" "fd_write" (func (param i64)))'), ["wasm-link"]),
        (command("", imports=f'(import "{WASI}" "fd_write" (memory 1))', memory=""), ["wasm-link", "workload-memory"]),
        (command("", imports=f'(import "{WASI}" "proc_exit" (func (param i32) (result i32)))'), ["wasm-link"]),
        (command("", imports=EXIT, memory=""), ["workload-memory"]),
        (command("", imports=EXIT, memory='(global (export "memory") i32 (i32.const 0))'), ["workload-memory"]),
        ('(module (func (export "_start") (param i32)))', ["wasm-entry"]),
    ],
)  # fmt: skip
def test_everything_that_a_keep_would_refuse_is_told_at_once(text: str, codes: list[str], machine: Machine) -> None:
    assert inspected(text) == codes
    try:
        outcome = machine.run(text)
    except WorkloadError as error:
        assert error.code == codes[0]
    else:
        assert outcome.code in (codes[0], "")  # "": only a call would have shown it


@pytest.mark.parametrize("look", [validate_module, inspect_module])
@pytest.mark.parametrize(
    ("module", "code"),
    [
        (b"", "wasm-magic"),
        (b"(module)", "wasm-magic"),
        (b"\0asm\x0d\0\x01\0", "wasm-component"),
        (b"\0asm\x02\0\0\0", "wasm-version"),
        (b"\0asm\x01\0\0\0\xff", "wasm-invalid"),
        (bytes(wasmtime.wat2wasm("(module (memory i64 1))")), "wasm-invalid"),
        (bytes(wasmtime.wat2wasm("(module (func $f (return_call $f)))")), "wasm-invalid"),
        (bytes(wasmtime.wat2wasm("(module (func (result i32) i64.const 1))")), "wasm-invalid"),
    ],
    ids=["nothing", "text", "component", "version", "cut", "memory64", "tail-call", "type"],
)
def test_what_is_no_module_is_refused_from_outside_too(
    look: Callable[[bytes], object], module: bytes, code: str
) -> None:
    with pytest.raises(WorkloadError) as refused:
        look(module)
    assert refused.value.code == code


def test_validation_compiles_nothing_and_accepts_what_compiles() -> None:
    validate_module(bytes(wasmtime.wat2wasm(command("(call $exit (i32.const 1))", imports=EXIT))))
