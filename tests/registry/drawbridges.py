"""A Drawbridge that serves what was published to it, in the published formats (drawbridge 0.4.3), over TLS."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.registry.serving import Exchange

DIRECTORY = "application/vnd.drawbridge.directory.v1+json"
ENTRY = "application/vnd.drawbridge.entry.v1+json"
TYPES = {".wasm": "application/wasm", ".toml": "application/toml"}
ALGORITHMS = ("sha-224", "sha-256", "sha-384", "sha-512")


def digests(data: bytes) -> dict[str, str]:
    """As the published client writes them: all four, sorted, in padded base64."""
    return {name: base64.b64encode(hashlib.new(name.replace("-", ""), data).digest()).decode() for name in ALGORITHMS}


def meta(data: bytes, media_type: str) -> dict[str, object]:
    return {"digest": digests(data), "length": len(data), "type": media_type}


def encode(document: Mapping[str, object]) -> bytes:
    """Compact; names of a directory are in the order of their bytes, fields of an entry in that of `meta`."""
    return json.dumps(document, separators=(",", ":")).encode()


def directory(files: Mapping[str, bytes]) -> bytes:
    return encode(
        {
            name: meta(files[name], TYPES.get(name[name.rfind(".") :], "application/octet-stream"))
            for name in sorted(files)
        }
    )


def content_digest(data: bytes) -> str:
    return ",".join(f"{name}=:{value}:" for name, value in digests(data).items())


@dataclass
class Node:
    """What is served at one path."""

    body: bytes
    media_type: str
    content_digest: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, exchange: Exchange) -> None:
        digest = self.content_digest or content_digest(self.body)
        exchange.answer(200, self.body, **{"Content_Digest": digest, "Content_Type": self.media_type} | self.headers)


class Drawbridge:
    """``nodes`` by path; tests may change them, or put answers of their own into ``replaced``."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def publish(self, slug: str, files: Mapping[str, bytes]) -> str:
        """Publish a public package under ``USER/REPO:TAG``; returns the path of its tag."""
        repository, _, tag = slug.rpartition(":")
        path = f"/api/v0.1.0/{repository}/_tag/{tag}"
        root = directory(files)
        self.nodes[path] = Node(encode(meta(root, DIRECTORY)), ENTRY)
        self.nodes[f"{path}/tree"] = Node(root, DIRECTORY)
        for name, data in files.items():
            media_type = TYPES.get(name[name.rfind(".") :], "application/octet-stream")
            self.nodes[f"{path}/tree/{name}"] = Node(data, media_type)
        return path

    def __call__(self, exchange: Exchange) -> None:
        node = self.nodes.get(exchange.path)
        if node is None:
            return exchange.answer(404, b"Not found", Content_Type="text/plain")
        return node.answer(exchange)
