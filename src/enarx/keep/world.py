"""Builds what the workload will see: its descriptors in the order of the config, files, arguments, environment."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from enarx.config import ConnectFile, ListenFile, NullFile, Protocol, StdioFile, environment, pem_of
from enarx.errors import ConfigError
from enarx.keep.link import Streams
from enarx.keep.loop import Loop
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import Descriptor, DescriptorTable, Null
from enarx.keep.wasi.openfile import preopen
from enarx.keep.wasi.stdio import Stdio
from enarx.keep.wasi.tree import Directory, FileSystem
from enarx.keep.workload import Launch, encode_text

if TYPE_CHECKING:
    import ssl

    from enarx.keep.challenges import Challenges
    from enarx.keep.identity import Identity


def preload() -> bytes:
    """Import what any config could ask for, and read what it could need, which is the image's certificate store.

    For a Keep that gets to know its config only after it has given up its files.
    """
    from cryptography.hazmat.primitives.ciphers import aead  # noqa: F401
    from cryptography.hazmat.primitives.kdf import hkdf  # noqa: F401

    import enarx.config_reader
    import enarx.keep.accept
    import enarx.keep.layer
    import enarx.keep.opening
    import enarx.keep.package
    import enarx.keep.wasi.stream
    import enarx.keep.wasi.tls_stream  # noqa: F401
    from enarx.keep.tls import image_store

    return image_store()


class World:
    """The surroundings of one workload, in ``context``.

    Making it imports and reads what the Keep's own image has (code, trust anchors); ``open`` needs nothing of that
    any more, and is for after the sandbox has taken it away: it is where bytes from strangers come in.
    """

    def __init__(
        self,
        launch: Launch,
        streams: Streams,
        loop: Loop,
        *,
        certified: bool = False,
        store: bytes | None = None,
        challenges: Challenges | None = None,
    ) -> None:
        """``certified``: another vouches for the Keep, and `identify` comes before `open`; it certifies itself else.

        ``store`` is the image's certificate store where it has been read already, with `preload`. ``challenges``
        answers clients that ask for fresh evidence.
        """
        self._launch = launch
        self._streams = streams
        self._loop = loop
        self._challenges = challenges
        config = launch.config
        if config.secret_env and not certified:
            raise ConfigError(
                "Enarx.toml asks for secrets as variables, and there is no Steward to release any",
                code="secret-missing",
                hint="deploy with --steward, or take [secret_env] out of Enarx.toml",
            )
        self.context = Context(DescriptorTable(config.limits.open_descriptors))
        self.context.args = [encode_text(text) for text in ("main.wasm", *config.args, *launch.args)]
        # FD_COUNT and FD_NAMES describe the config; a program that has none sees nothing but what it was given.
        pairs = [*(environment(config) if launch.configured else ()), *launch.env]
        self.context.environment = [encode_text(f"{name}={value}") for name, value in pairs]
        self._tls: dict[ListenFile | ConnectFile, ssl.SSLContext] = {}
        files = [file for file in config.files if isinstance(file, ListenFile | ConnectFile)]
        if files:
            import enarx.keep.accept
            import enarx.keep.wasi.stream
        self._keep_root: Directory | None = None
        if launch.layers or launch.manifest_size is not None:
            import enarx.keep.layer  # noqa: F401
        if any(file.prot is Protocol.TLS for file in files):
            self._make_tls(files, certified, store)

    def open(self) -> None:
        """Open every stream and directory, in the order of the config.

        Raises StreamError, LimitError, LinkError or WorkloadError.
        """
        for file in self._launch.config.files:
            self.context.table.add(self._open(file))
        self._files()

    def identify(self, identity: Identity, directory: str) -> None:
        """Show ``identity`` in all TLS from now on. ``directory`` has the process's own descriptors."""
        if self._tls:
            from enarx.keep.tls import install

            for context in self._tls.values():
                install(context, identity, directory)

    def reveal(self, secrets: Mapping[str, bytes]) -> None:
        """Put the secrets that the config asks for as variables into the environment. Raises ConfigError."""
        from enarx.keep.keepdir import GUEST_PATH, SECRETS

        for variable, name in self._launch.config.secret_env:
            if name not in secrets:
                raise ConfigError(
                    f"Enarx.toml asks for the secret {name!r} as {variable}, and the Steward released none such",
                    code="secret-missing",
                    hint="release it to this workload in the Steward's policy, or take it out of [secret_env]",
                )
            try:
                text = secrets[name].decode()
            except UnicodeDecodeError:
                text = "\0"
            if "\0" in text:
                raise ConfigError(
                    f"the secret {name!r} cannot be the variable {variable}: it is not text in UTF-8 without NUL",
                    code="secret-text",
                    hint=f"read it from {GUEST_PATH}/{SECRETS}/{name}",
                )
            self.context.environment = [*self.context.environment, encode_text(f"{variable}={text}")]

    def tell(self, archive: bytes) -> None:
        """What the workload can read of itself below ``/keep``, as `keepdir.archive` makes it; replaces what was there.

        The first call must come before `open`. A file that is open stays what it was.
        """
        from enarx.keep.keepdir import LIMIT_BYTES
        from enarx.keep.layer import unpack

        fs = FileSystem(LIMIT_BYTES, lambda: 0)
        unpack(archive, fs, fs.root)
        if self._keep_root is None:
            self._keep_fs, self._keep_root = fs, fs.root
            return
        for node in fs.root.entries.values():
            if isinstance(node, Directory):
                node.parent = self._keep_root
        self._keep_root.entries = fs.root.entries  # at once, for the workload's thread may be looking

    def _make_tls(self, files: Sequence[ListenFile | ConnectFile], certified: bool, store: bytes | None) -> None:
        """TLS contexts, and an identity unless one is to come. Raises ConfigError.

        Their modules cost a tenth of a second to import.
        """
        from datetime import UTC, datetime

        import enarx.keep.wasi.tls_stream  # noqa: F401 - used when a stream is opened
        from enarx.keep.identity import self_signed
        from enarx.keep.tls import client_context, image_store, server_context

        identity = None if certified else self_signed(datetime.now(UTC))
        for file in files:
            if file.prot is Protocol.TLS:
                entries = file.client_ca if isinstance(file, ListenFile) else file.ca
                anchors = [pem_of(entry, self._launch.ca_files) for entry in entries]
                if isinstance(file, ListenFile):
                    self._tls[file] = server_context(identity, anchors, self._challenges)
                    continue
                if not entries:
                    store = image_store() if store is None else store
                    anchors = [store] if store else []
                self._tls[file] = client_context(identity, anchors)

    def _open(self, file: NullFile | StdioFile | ListenFile | ConnectFile) -> Descriptor:
        if isinstance(file, NullFile):
            return Null()
        if isinstance(file, StdioFile):
            fd, kind = self._streams.stdio(file.kind)
            return Stdio(fd, readable=file.kind == "stdin", kind=kind)
        if isinstance(file, ListenFile):
            return self._listen(file)
        return self._connect(file)

    def _listen(self, file: ListenFile) -> Descriptor:
        """A TLS listener starts non-blocking and a plain one blocking, as in Enarx."""
        from enarx.keep.accept import CONNECTIONS, ConnectionQueue
        from enarx.keep.wasi.stream import Listener

        tls = self._tls.get(file)
        number = 0  # the queue is used only once connections come, which is after it is known
        queue = ConnectionQueue(
            self._loop,
            tls,
            lambda count: self._streams.credit(number, count),
            lambda: self._streams.close(number),
            self._challenges if tls is not None else None,
        )
        number = self._streams.listen(file.addr, file.port, queue.incoming)
        self._streams.credit(number, CONNECTIONS)
        if tls is None:
            return Listener(queue, self.context.interrupt.wait, nonblocking=False)
        from enarx.keep.wasi.tls_stream import TlsStream

        return Listener(queue, self.context.interrupt.wait, nonblocking=True, make=TlsStream)

    def _connect(self, file: ConnectFile) -> Descriptor:
        from enarx.keep.wasi.stream import Stream

        sock = self._streams.connect(file.host, file.port)
        tls = self._tls.get(file)
        if tls is None:
            return Stream(sock)
        from enarx.keep.tls import connect
        from enarx.keep.wasi.tls_stream import TlsStream

        return TlsStream(connect(tls, sock, file.host))

    def _files(self) -> None:
        """The in-memory file system: one tree for each directory that the workload was given."""
        fs = FileSystem(self._launch.config.limits.filesystem_bytes, time.time_ns)
        for path, archive in self._launch.layers:
            from enarx.keep.layer import unpack

            root = fs.new_root()
            unpack(archive, fs, root)
            self.context.table.add(preopen(fs, root, encode_text(path)))
        package = self._launch.package
        if package is not None and package.files is not None:
            from enarx.keep import package as packages

            root = fs.new_root()
            packages.unpack(package, fs, root)
            self.context.table.add(preopen(fs, root, packages.GUEST_PATH.encode()))
        if self._keep_root is not None:
            from enarx.keep.keepdir import GUEST_PATH

            self.context.table.add(preopen(self._keep_fs, self._keep_root, GUEST_PATH.encode(), read_only=True))
