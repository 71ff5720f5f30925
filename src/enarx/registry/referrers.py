"""What refers to an artifact: the Referrers API, or the index under the artifact's fallback tag.

Source: OCI distribution specification 1.1, "Listing Referrers", "Pushing Manifests with Subject" and "Referrers Tag
Schema". Whoever may push to a repository may write that list: it is a hint where to look, and proves nothing.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from enarx.errors import RegistryError
from enarx.registry.digest import hexadecimal, is_digest
from enarx.registry.endpoint import Repository
from enarx.registry.manifest import INDEX, MANIFEST_MAX_BYTES, Descriptor, Index, parse_manifest
from enarx.registry.manifests import get_manifest, put_manifest
from enarx.registry.retry import retrying
from enarx.registry.urls import Url

REFERRERS_MAX: Final = 64
"""What refers to one artifact and is of one type, at most (count)."""
PAGES_MAX: Final = 16
"""Pages of a list of referrers."""
_LINK: Final = re.compile(r'<([^<>]*)> *; *rel="?next"?')
WRITE_ATTEMPTS: Final = 5
"""Tries to add to an index that others write to as well (count)."""


class Referrers:
    """Of the artifact with ``digest``."""

    def __init__(self, repository: Repository, digest: str) -> None:
        if not is_digest(digest):
            raise ValueError("an artifact that is not named by its digest")
        self._repository = repository
        self._digest = digest
        self._tag = f"sha256-{hexadecimal(digest)}"
        self._what = f"what refers to {repository.endpoint.host}/{repository.name}@{digest}"

    def find(self, artifact_type: str) -> list[Descriptor]:
        """Manifests that refer to the artifact and say that they are of this type."""
        listed = self._from_api()
        if listed is None:
            index = self._from_tag()
            listed = list(index.manifests) if index else []
        found = {one.digest: one for one in listed if one.artifact_type == artifact_type}
        if len(found) > REFERRERS_MAX:
            raise RegistryError(
                f"{self._what}: more than {REFERRERS_MAX} artifacts of type {artifact_type}",
                code="registry-referrers",
                hint="somebody fills the repository: remove what is not yours",
            )
        return list(found.values())

    def add(self, descriptor: Descriptor) -> None:
        """See to it that the manifest is found, where the registry does not do that by itself.

        The index under the tag is read, added to and written; others may do so at once, so it is read again.
        """
        if self._from_api() is not None:
            return
        for _ in range(WRITE_ATTEMPTS):
            index = self._from_tag() or Index(())
            if any(one.digest == descriptor.digest for one in index.manifests):
                return
            data = Index((*index.manifests, descriptor), index.annotations).encode()
            if len(data) > MANIFEST_MAX_BYTES:
                break
            put_manifest(self._repository, self._tag, INDEX, data)
        raise RegistryError(
            f"{self._what}: {descriptor.digest} cannot be added to the list",
            code="registry-referrers",
            hint="others write to the same list, or it is full: try again",
        )

    def _from_api(self) -> list[Descriptor] | None:
        """The list that the registry keeps; None where it has no such API."""
        found: list[Descriptor] = []
        page: Url | None = self._repository.url(f"referrers/{self._digest}")
        for _ in range(PAGES_MAX):
            if page is None:
                return found
            answer = retrying(self._repository.patience, self._what, partial(self._page, page))
            if answer is None:
                return None
            index, page = answer
            found += index.manifests
        raise RegistryError(
            f"{self._what}: the list has no end",
            code="registry-referrers",
            hint="the registry is broken, or somebody fills the repository",
        )

    def _page(self, url: Url) -> tuple[Index, Url | None] | None:
        with self._repository.ask("GET", url, {"Accept": INDEX}) as response:
            if response.status != 200:
                if 400 <= response.status < 500 and response.status not in (401, 403):
                    return None  # 404, says the specification; not all registries do
                raise self._repository.endpoint.refused(response, self._what)
            index = parse_manifest(response.read(MANIFEST_MAX_BYTES, "the list of referrers"))
            link = _LINK.fullmatch((response.header("Link") or "").strip())
            following = self._repository.lead(response, link[1]) if link else None
        if not isinstance(index, Index):
            raise self._no_list()
        return index, following

    def _from_tag(self) -> Index | None:
        try:
            data = get_manifest(self._repository, self._tag)
        except RegistryError as error:
            if error.code == "registry-manifest-missing":
                return None
            raise
        found = parse_manifest(data)
        if not isinstance(found, Index):
            raise self._no_list()
        return found

    def _no_list(self) -> RegistryError:
        return RegistryError(
            f"{self._what}: what is there is no list of artifacts",
            code="registry-referrers",
            hint=f"the tag {self._tag} is meant for such a list alone: remove it",
        )
