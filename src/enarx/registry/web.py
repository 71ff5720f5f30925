"""Workloads at URLs: a module or a package file on any server, or what a Drawbridge has, by URL or by slug.

What a server says a thing is decides how it is read; every digest that it gives is checked, and the chain of them from
a Drawbridge's tag to each file. That chain begins with the server's word: a URL can be pinned with ``#sha256=HEX``,
the digest of the module or package itself. Only what is public is read: no credentials are ever sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from enarx.errors import RegistryError, UsageError
from enarx.mediatype import ENCRYPTED, HEAD_BYTES, PACKAGE, WASM, media_type_of
from enarx.registry import drawbridge
from enarx.registry.access import Access
from enarx.registry.drawbridge import Checker, Digests, Meta
from enarx.registry.endpoint import REDIRECTS, follow
from enarx.registry.progress import Progress, silent
from enarx.registry.pull import BLOB_MAX_BYTES
from enarx.registry.retry import TRANSIENT_STATUSES, Patience, parse_retry_after, retrying
from enarx.registry.store import Store
from enarx.registry.transport import BLOCK_BYTES, Http, Request, Response, TransientError
from enarx.registry.urls import Url, parse_url

_FILES: Final = frozenset(
    {WASM, PACKAGE, ENCRYPTED, "application/octet-stream", "application/x-tar", "binary/octet-stream"}
)
"""Media types under which servers hand out modules and packages."""
_PIN: Final = re.compile(r"sha256=([0-9a-f]{64})")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Workload:
    """What was fetched into the store: a module, with its Enarx.toml if that came with it, or a package."""

    url: str
    media_type: str
    digest: str
    size: int
    path: Path
    config: bytes | None = None


def parse_location(text: str) -> tuple[Url, str]:
    """URL and pinned digest (or "") of ``https://...[#sha256=HEX]``, or of a slug; UsageError ``scheme``, ``slug``."""
    if "://" not in text:
        return drawbridge.parse_slug(text), ""
    scheme = text.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise UsageError(f"unsupported scheme: {ascii(scheme)[1:-1][:40]}", code="scheme", hint="write https://...")
    address, hash_sign, fragment = text.partition("#")
    pin = _PIN.fullmatch(fragment)
    if hash_sign and pin is None:
        raise UsageError("what follows # is not a digest", code="reference", hint="write URL#sha256=HEX")
    try:
        return parse_url(address), f"sha256:{pin[1]}" if pin else ""
    except RegistryError as error:
        raise UsageError(error.message, code="reference", hint=error.hint) from None


class Web:
    """Fetches workloads. Used as a context manager; it is for one thread."""

    def __init__(
        self, access: Access | None = None, *, progress: Progress = silent, patience: Patience | None = None
    ) -> None:
        self._http = Http(access or Access())
        self._progress = progress
        self._patience = patience or Patience()

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def fetch(self, location: str, store: Store, *, require_digest: bool = False) -> Workload:
        """The workload at a URL or slug, in the store. RegistryError for what a server does; UsageError."""
        url, pin = parse_location(location)
        if require_digest and not pin:
            raise UsageError(
                f"{ascii(location)[1:-1][:200]} is not pinned to a digest",
                code="digest-required",
                hint="write URL#sha256=HEX, the digest of the module or the package",
            )
        found = self._retrying(url, partial(self._top, url, store))
        if pin and found.digest != pin:
            raise RegistryError(
                f"{url} is {found.digest}, and {pin} was asked for",
                code="registry-wrong-content",
                hint="the server's content has changed, or the digest is of something else",
            )
        return found

    def _top(self, url: Url, store: Store) -> Workload:
        with self._get(url) as response:
            kind = _media_type(response)
            if kind == drawbridge.JOSE:
                raise _refused("signed tags are not currently supported", "drawbridge-signed")
            if kind in _FILES:
                return self._file(response, store)
            meta, data = self._document(response)
        if kind == drawbridge.DIRECTORY:
            return self._directory(url, drawbridge.parse_directory(data), store)
        root = drawbridge.parse_entry(data)
        tree = _below(url, "tree")
        if root.media_type == WASM:
            return self._module(tree, drawbridge.MODULE_NAME, root, store)
        if root.media_type != drawbridge.DIRECTORY:
            raise _refused(f"invalid tree root media type `{_shown(root.media_type)}`", "drawbridge-media-type")
        with self._get(tree) as response:
            meta, data = self._document(response)
        if meta != root:
            raise _refused("tree root metadata does not match tag entry metadata", "drawbridge-metadata")
        return self._directory(tree, drawbridge.parse_directory(data), store)

    def _directory(self, url: Url, entries: dict[str, Meta], store: Store) -> Workload:
        module = entries.get(drawbridge.MODULE_NAME)
        if module is None:
            raise _refused(f"directory does not contain `{drawbridge.MODULE_NAME}`", "drawbridge-no-module")
        config = entries.get(drawbridge.CONFIG_NAME)
        if config is not None and config.media_type != drawbridge.TOML:
            raise _refused(
                f"invalid `{drawbridge.CONFIG_NAME}` media type `{_shown(config.media_type)}`", "drawbridge-media-type"
            )
        text = None
        if config is not None:
            text = self._retrying(url, partial(self._config, _below(url, drawbridge.CONFIG_NAME), config))
        place = _below(url, drawbridge.MODULE_NAME)
        return self._retrying(url, partial(self._module, place, drawbridge.MODULE_NAME, module, store, text))

    def _config(self, url: Url, expected: Meta) -> bytes:
        if expected.length > drawbridge.CONFIG_MAX_BYTES:
            raise _too_large(drawbridge.CONFIG_NAME, drawbridge.CONFIG_MAX_BYTES)
        with self._get(url) as response:
            meta, data = self._document(response)
        if meta != expected:
            raise _unlike(drawbridge.CONFIG_NAME)
        return data

    def _module(self, url: Url, name: str, expected: Meta, store: Store, config: bytes | None = None) -> Workload:
        if expected.media_type != WASM:
            raise _refused(f"invalid `{name}` media type `{_shown(expected.media_type)}`", "drawbridge-media-type")
        if expected.length > drawbridge.MODULE_MAX_BYTES:
            raise _too_large(name, drawbridge.MODULE_MAX_BYTES)
        with self._get(url) as response:
            if self._meta(response) != expected:
                raise _unlike(name)
            return self._store(response, store, expected.digests, drawbridge.MODULE_MAX_BYTES, config)

    def _file(self, response: Response, store: Store) -> Workload:
        """A module or package on a server that need not be a Drawbridge: digests are checked where there are any."""
        digests = drawbridge.parse_content_digest(response.headers("Content-Digest"))
        limit = drawbridge.MODULE_MAX_BYTES if _media_type(response) == WASM else BLOB_MAX_BYTES
        return self._store(response, store, digests, limit, None)

    def _store(self, response: Response, store: Store, digests: Digests, limit: int, config: bytes | None) -> Workload:
        length = response.length
        if length is not None and length > limit:
            raise _too_large(str(response.url), limit)
        response.expect(limit if length is None else length)
        checker = Checker(digests, length)
        what = f"fetch {response.url}"
        with store.ingest(limit) as ingest:
            buffer = memoryview(bytearray(min(BLOCK_BYTES, limit + 1)))
            while count := response.readinto(buffer):
                checker.update(buffer[:count])
                ingest.write(buffer[:count])
                if length is not None:
                    self._progress(what, ingest.offset, length)
            if length is not None and ingest.offset < length:
                raise TransientError(f"the connection ended after {ingest.offset} of {length} bytes")
            checker.check(str(response.url))
            media_type = media_type_of(ingest.begins_with(HEAD_BYTES))
            announced = _media_type(response)
            if media_type is None or (announced in (WASM, PACKAGE, ENCRYPTED) and announced != media_type):
                raise RegistryError(
                    f"{response.url} is neither a WebAssembly module nor a package, or not what it is said to be",
                    code="registry-artifact",
                    hint="check the URL",
                )
            size = ingest.offset
            digest, path = ingest.commit()
        self._progress(what, size, size)
        return Workload(str(response.url), media_type, digest, size, path, config)

    def _document(self, response: Response) -> tuple[Meta, bytes]:
        """A small body of a Drawbridge, checked against its own headers."""
        meta = self._meta(response)
        data = response.read(drawbridge.DOCUMENT_MAX_BYTES, "the answer")
        checker = Checker(meta.digests, meta.length)
        checker.update(data)
        checker.check(str(response.url))
        return meta, data

    def _meta(self, response: Response) -> Meta:
        """What a Drawbridge's headers say of the body; RegistryError ``drawbridge-entry`` where one is missing."""
        digests = drawbridge.parse_content_digest(response.headers("Content-Digest"))
        length = response.length
        if not digests or length is None or response.header("Content-Type") is None:
            raise RegistryError(
                f"{response.url} answers without Content-Digest, Content-Length or Content-Type",
                code="drawbridge-entry",
                hint="it is neither a Drawbridge, nor a module or a package: check the URL, or the slug",
            )
        return Meta(digests, length, _media_type(response))

    def _get(self, url: Url) -> Response:
        request = Request("GET", url)
        response = self._http.send(request)
        if response.status in REDIRECTS:
            response = follow(self._http, request, response)
        if response.status == 200:
            return response
        with response:
            if response.status in TRANSIENT_STATUSES:
                wait = parse_retry_after(response.header("Retry-After"))
                raise TransientError(f"{url.authority} answers {response.status}", wait)
            raise RegistryError(
                f"{url} cannot be had: {url.authority} answers {response.status}",
                code="registry-missing" if response.status == 404 else "registry-refused",
                hint="check the URL; only what is public can be read",
            )

    def _retrying(self, url: Url, action: partial[_T]) -> _T:
        return retrying(self._patience, f"fetch {url}", action)


def _below(url: Url, name: str) -> Url:
    path = url.target.partition("?")[0].rstrip("/")
    return Url(url.scheme, url.host, url.port, f"{path}/{name}")


def _media_type(response: Response) -> str:
    return (response.header("Content-Type") or "").partition(";")[0].strip().lower()


def _shown(text: str) -> str:
    return ascii(text)[1:-1][:80]


def _refused(message: str, code: str) -> RegistryError:
    return RegistryError(message, code=code, hint="publish the package again, or name another")


def _unlike(name: str) -> RegistryError:
    return _refused(f"`{name}` metadata does not match directory entry metadata", "drawbridge-metadata")


def _too_large(what: str, limit: int) -> RegistryError:
    return RegistryError(
        f"{what} is larger than {limit} bytes", code="registry-too-large", hint="this is more than a Keep takes"
    )
