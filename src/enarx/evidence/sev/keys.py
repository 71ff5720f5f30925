"""The transport keys of one launch: an object that gives its secrets away once.

A TEK/TIK pair that serves two launches lets the host of the first replay or read what was meant for the second
(SEV API 55766, section 2.2). So the pair lives in an object that refuses a second use, cannot be copied, pickled or
printed, and overwrites its memory when it is spent or dropped. CPython may still hold copies of bytes that passed
through a library: the overwriting is a precaution, not a guarantee.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, final

from enarx.errors import AuthenticityError, MalformedError

KEY_BYTES = 16
"""TEK (AES-128) and TIK (HMAC key), 128 bits each."""


@final
class TransportKeys:
    """Transport encryption key (TEK) and transport integrity key (TIK), to be spent once."""

    __slots__ = ("_keys",)

    def __init__(self, tek: bytes, tik: bytes) -> None:
        """Take 16 bytes each; raises MalformedError for another length."""
        for name, key in (("TEK", tek), ("TIK", tik)):
            if len(key) != KEY_BYTES:
                raise MalformedError(
                    f"a {name} has {KEY_BYTES} bytes, this has {len(key)}",
                    code="sev-key-length",
                    hint="give the raw key as it was stored when the session was made",
                )
        self._keys: bytearray | None = bytearray(tek + tik)

    @property
    def spent(self) -> bool:
        """True once the keys were given away."""
        return self._keys is None

    @contextmanager
    def spend(self) -> Iterator[tuple[bytes, bytes]]:
        """TEK and TIK for the length of a ``with`` block, once; raises AuthenticityError ever after."""
        keys, self._keys = self._keys, None
        if keys is None:
            raise AuthenticityError(
                "the transport keys of this launch have been used",
                code="sev-keys-spent",
                hint="start the guest anew with a new session",
            )
        try:
            yield bytes(keys[:KEY_BYTES]), bytes(keys[KEY_BYTES:])
        finally:
            keys[:] = bytes(len(keys))

    def __repr__(self) -> str:
        return f"TransportKeys({'spent' if self.spent else 'unspent'})"

    def __copy__(self) -> NoReturn:
        raise TypeError("transport keys are not copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("transport keys are not copied")

    def __reduce__(self) -> NoReturn:
        raise TypeError("transport keys are not serialised")

    def __del__(self) -> None:
        keys = getattr(self, "_keys", None)
        if keys is not None:
            keys[:] = bytes(len(keys))
