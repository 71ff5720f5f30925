"""Small WebAssembly programs that tests run, assembled from text when they are needed."""

from __future__ import annotations

from functools import cache

_IMPORTS = {
    "args_get": "i32 i32",
    "args_sizes_get": "i32 i32",
    "environ_get": "i32 i32",
    "environ_sizes_get": "i32 i32",
    "fd_fdstat_get": "i32 i32",
    "fd_read": "i32 i32 i32 i32",
    "fd_write": "i32 i32 i32 i32",
    "path_open": "i32 i32 i32 i32 i32 i64 i64 i32 i32",
    "poll_oneoff": "i32 i32 i32 i32",
    "sock_accept": "i32 i32 i32",
    "sock_recv": "i32 i32 i32 i32 i32 i32",
}


@cache
def assemble(text: str) -> bytes:
    """WebAssembly text to a binary module."""
    import wasmtime

    return bytes(wasmtime.wat2wasm(text))


def program(body: str, *, pages: int = 64, functions: str = "") -> bytes:
    """A WASI command with ``body`` as ``_start``, which may call every function of ``_IMPORTS``, and ``$exit``.

    ``$check`` exits with an errno that is not zero; ``$print`` writes (address, length) to stdout; ``$ready`` prints
    "ready" and a newline. Addresses from 1024 on are the body's.
    """
    imports = "\n".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))'
        for name, params in _IMPORTS.items()
    )
    return assemble(f"""(module
        {imports}
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") {pages})
        (data (i32.const 32) "ready\\n")
        (func $check (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
        (func $print (param i32 i32)
            (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1))
            (call $check (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
        (func $ready (call $print (i32.const 32) (i32.const 6)))
        {functions}
        (func (export "_start") {body}))""")


HELLO = program("(call $ready)")
EMPTY = program("")
TRAP = program("(call $outer)", functions="(func $inner unreachable) (func $outer (call $inner))")
LOOP = program("(call $ready) (loop $again (br $again))")
MEMORY = program("(loop $more (drop (memory.grow (i32.const 16))) (br $more))")
"""Asks for memory for ever, and does not care for what it is told."""


def exiting(status: int) -> bytes:
    return program(f"(call $exit (i32.const {status}))")


def strings(which: str) -> bytes:
    """Prints its ``args`` or ``environ``, each ended by a NUL."""
    return program(f"""
        (call $check (call ${which}_sizes_get (i32.const 1024) (i32.const 1028)))
        (call $check (call ${which}_get (i32.const 65536) (i32.const 131072)))
        (call $print (i32.const 131072) (i32.load (i32.const 1028)))""")


ARGS = strings("args")
ENVIRON = strings("environ")

FILETYPES = program("""
    (local $fd i32)
    (loop $next
        (call $check (call $fd_fdstat_get (local.get $fd) (i32.const 1024)))
        (call $print (i32.const 1024) (i32.const 1))
        (br_if $next (i32.lt_u (local.tee $fd (i32.add (local.get $fd) (i32.const 1))) (i32.const 3))))""")
"""Prints the $filetype of descriptors 0, 1 and 2, one byte each."""

_COPY = """
    (i32.store (i32.const 1024) (i32.const 65536)) (i32.store (i32.const 1028) (i32.const 65536))
    (loop $next
        (call $check (call $fd_read (local.get $fd) (i32.const 1024) (i32.const 1) (i32.const 1032)))
        (if (i32.load (i32.const 1032)) (then
            (call $print (i32.const 65536) (i32.load (i32.const 1032)))
            (br $next))))"""

CAT = program("(local $fd i32)" + _COPY)
"""Copies stdin to stdout."""


def writer(count: int) -> bytes:
    """Writes ``count`` blocks of 64 KiB to stdout; exits with the errno of the first failure."""
    return program(f"""
        (local $left i32) (local $done i32)
        (local.set $left (i32.const {count}))
        (loop $next
            (local.set $done (i32.const 0))
            (loop $part
                (call $print
                    (i32.add (i32.const 65536) (local.get $done)) (i32.sub (i32.const 65536) (local.get $done)))
                (local.set $done (i32.add (local.get $done) (i32.load (i32.const 8))))
                (br_if $part (i32.lt_u (local.get $done) (i32.const 65536))))
            (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))""")


_OPEN_ARGUMENT = """
    (call $check (call $args_sizes_get (i32.const 1024) (i32.const 1028)))
    (call $check (call $args_get (i32.const 65536) (i32.const 131072)))
    (call $check (call $path_open (i32.const 3) (i32.const 1) (i32.load (i32.const 65540))
        (i32.sub (i32.sub (i32.load (i32.const 1028)) (i32.sub (i32.load (i32.const 65540)) (i32.const 131072)))
            (i32.const 1))
        (i32.const %d) (i64.const %d) (i64.const 0) (i32.const 0) (i32.const 1036)))
    (local.set $fd (i32.load (i32.const 1036)))"""

CAT_FILE = program("(local $fd i32)" + _OPEN_ARGUMENT % (0, 2) + _COPY)
"""Copies the file argv[1] to stdout; exits with the errno when it cannot be opened."""

WRITE_FILE = program(
    "(local $fd i32)"
    + _OPEN_ARGUMENT % (9, 64)
    + """
    (i32.store (i32.const 1024) (i32.const 32)) (i32.store (i32.const 1028) (i32.const 6))
    (call $check (call $fd_write (local.get $fd) (i32.const 1024) (i32.const 1) (i32.const 1032)))
    (call $ready)"""
)
"""Makes or truncates the file argv[1] and writes "ready" and a newline into it."""

FILL_FILE = program(
    "(local $fd i32)"
    + _OPEN_ARGUMENT % (9, 64)
    + """
    (i32.store (i32.const 1024) (i32.const 65536)) (i32.store (i32.const 1028) (i32.const 65536))
    (loop $next
        (call $check (call $fd_write (local.get $fd) (i32.const 1024) (i32.const 1) (i32.const 1032)))
        (br $next))"""
)
OPEN_MANY = program("(local $fd i32) (loop $next " + _OPEN_ARGUMENT % (0, 2) + "(br $next))")

_WAIT_CLOCK = """
    (i64.store (i32.const 1032) (i64.const 0)) (i32.store (i32.const 1040) (i32.const 1))
    (i64.store (i32.const 1048) (i64.const 3600000000000))
    (call $check (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 1020)))"""
WAIT_CLOCK = program("(call $ready)" + _WAIT_CLOCK)
"""Waits for an hour in poll_oneoff."""
MEMORY_THEN_WAIT = program(
    "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))" + _WAIT_CLOCK
)
"""Asks for memory until it gets none, and waits: for a Keep in a process of ours, which outlives the workload."""

WAIT_ACCEPT = program("(call $ready) (call $check (call $sock_accept (i32.const 3) (i32.const 0) (i32.const 1024)))")
WAIT_STDIN = program("(local $fd i32) (call $ready)" + _COPY)
WAIT_SOCKET = program("(local $fd i32) (call $ready) (local.set $fd (i32.const 3))" + _COPY)


def _leb(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def _section(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + _leb(len(content)) + content


@cache
def slow_to_compile(functions: int = 4000, statements: int = 300) -> bytes:
    """A module that takes seconds to compile: many functions of dependent arithmetic, written as binary directly."""
    statement = b"\x20\x00\x20\x01\x6c\x21\x01\x20\x01\x20\x00\x6a\x21\x00"  # l1 = l0 * l1; l0 = l1 + l0
    code = b"\x01\x02\x7f" + statement * statements + b"\x0b"
    body = _leb(len(code)) + code
    types = _section(1, b"\x01\x60\x00\x00")
    declarations = _section(3, _leb(functions) + b"\x00" * functions)
    exports = _section(7, b"\x01\x06_start\x00\x00")
    return b"\0asm\x01\0\0\0" + types + declarations + exports + _section(10, _leb(functions) + body * functions)


def large_module(functions: int = 4000, statements: int = 300) -> bytes:
    """The same with a ``_start`` that prints "ready" and a newline: with these defaults 17 MB of code."""
    statement = b"\x20\x00\x20\x01\x6c\x21\x01\x20\x01\x20\x00\x6a\x21\x00"
    filler = b"\x01\x02\x7f" + statement * statements + b"\x0b"
    body = _leb(len(filler)) + filler
    start = b"\x00\x41\x01\x41\x00\x41\x01\x41\x20\x10\x00\x1a\x0b"  # drop(fd_write(1, 0, 1, 32))
    library, name = b"wasi_snapshot_preview1", b"fd_write"
    imported = _leb(len(library)) + library + _leb(len(name)) + name + b"\x00\x01"
    memory = b"\x10\0\0\0\x06\0\0\0" + bytes(8) + b"ready\n"  # one buffer, and what is in it
    return b"".join([
        b"\0asm\x01\0\0\0",
        _section(1, b"\x02\x60\x00\x00\x60\x04\x7f\x7f\x7f\x7f\x01\x7f"),
        _section(2, b"\x01" + imported),
        _section(3, _leb(functions + 1) + b"\x00" * (functions + 1)),
        _section(5, b"\x01\x00\x01"),
        _section(7, b"\x02\x06_start\x00\x01\x06memory\x02\x00"),
        _section(10, _leb(functions + 1) + _leb(len(start)) + start + body * functions),
        _section(11, b"\x01\x00\x41\x00\x0b" + _leb(len(memory)) + memory),
    ])  # fmt: skip
