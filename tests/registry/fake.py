"""A registry for one artifact, honest until a test makes it lie, and one whose uploads can be gone on with."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from enarx.mediatype import PACKAGE
from enarx.registry.digest import digest_of
from enarx.registry.layout import EMPTY_DESCRIPTOR, package_manifest
from enarx.registry.manifest import EMPTY_CONTENT, MANIFEST, Descriptor
from tests.registry.serving import Exchange

Answer = Callable[[Exchange], None]


@dataclass
class FakeRegistry:
    """Serves ``package`` under any tag. ``manifest_answer`` and ``blob_answer`` replace what it says."""

    package: bytes
    manifest_answer: Answer | None = None
    blob_answer: Answer | None = None
    manifest: bytes = b""
    ranges: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.manifest:
            self.manifest = package_manifest(self.layer).encode()

    @property
    def layer(self) -> Descriptor:
        return Descriptor(PACKAGE, digest_of(self.package), len(self.package))

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    def __call__(self, exchange: Exchange) -> None:
        path = exchange.path
        if "/manifests/" in path:
            (self.manifest_answer or self.honest_manifest)(exchange)
        elif path.endswith(EMPTY_DESCRIPTOR.digest):
            exchange.answer(200, EMPTY_CONTENT)
        elif path.endswith(self.layer.digest):
            self.ranges.append(exchange.headers.get("Range"))
            (self.blob_answer or self.honest_blob)(exchange)
        else:
            exchange.answer(404)

    def honest_manifest(self, exchange: Exchange) -> None:
        exchange.answer(200, self.manifest, Content_Type=MANIFEST, Docker_Content_Digest=self.digest)

    def honest_blob(self, exchange: Exchange) -> None:
        wanted = re.fullmatch(r"bytes=([0-9]+)-", exchange.headers.get("Range") or "")
        if wanted is None:
            return exchange.answer(200, self.package)
        start, size = int(wanted[1]), len(self.package)
        return exchange.answer(206, self.package[start:], Content_Range=f"bytes {start}-{size - 1}/{size}")

    def cut_blob(self, exchange: Exchange, after: int) -> None:
        """Begin as an honest registry, and hang up after so many bytes."""
        wanted = re.fullmatch(r"bytes=([0-9]+)-", exchange.headers.get("Range") or "")
        start = int(wanted[1]) if wanted else 0
        rest, size = self.package[start:], len(self.package)
        exchange.send_response(206 if wanted else 200)
        exchange.send_header("Content-Length", str(len(rest)))
        if wanted:
            exchange.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        exchange.end_headers()
        exchange.wfile.write(rest[:after])
        exchange.hang_up()


@dataclass
class UploadRegistry:
    """Takes uploads, and remembers each byte of them. ``before`` may answer a request in its place: it returns True."""

    before: Callable[[Exchange], bool] = lambda _: False
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    received: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, exchange: Exchange) -> None:
        if self.before(exchange):
            return None
        path, _, query = exchange.path.partition("?")
        method = exchange.command
        if "/manifests/" in path and method == "PUT":
            self.manifests[path.rpartition("/")[2]] = exchange.body()
            return exchange.answer(201)
        if method == "HEAD":
            blob = self.blobs.get(path.rpartition("/")[2])
            return exchange.answer(404) if blob is None else exchange.answer(200, blob)
        if method == "POST":
            number = str(len(self.uploads))
            self.uploads[number] = bytearray()
            return exchange.answer(202, b"", Location=f"/v2/uploads/{number}", **self.headers)
        upload = self.uploads.get(path.rpartition("/")[2])
        if upload is None:
            return exchange.answer(404)
        if method == "GET":
            return exchange.answer(204, Location=path, Range=f"0-{max(0, len(upload) - 1)}", Content_Length="")
        start = re.match(r"([0-9]+)-", exchange.headers.get("Content-Range") or "")
        if start is not None and int(start[1]) != len(upload):
            exchange.body()
            return exchange.answer(416, Location=path, Range=f"0-{max(0, len(upload) - 1)}")
        self.receive(exchange, upload)
        if method == "PATCH":
            return exchange.answer(202, Location=path, Range=f"0-{len(upload) - 1}")
        digest = query.removeprefix("digest=").replace("%3A", ":")
        if digest_of(upload) != digest:
            return exchange.answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}')
        self.blobs[digest] = bytes(upload)
        return exchange.answer(201)

    def receive(self, exchange: Exchange, upload: bytearray, limit: int | None = None) -> None:
        """Take what comes, as it comes: at most ``limit`` bytes of it."""
        left = int(exchange.headers["Content-Length"])
        left = left if limit is None else min(left, limit)
        while left:
            block = exchange.rfile.read1(min(left, 1 << 16))
            if not block:
                raise ConnectionResetError
            upload += block
            self.received += len(block)
            left -= len(block)
