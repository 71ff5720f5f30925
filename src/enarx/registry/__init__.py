"""Registries: opaque bytes moved by digest, between OCI registries (or a Drawbridge) and a local store.

Nothing here knows what the bytes mean, and nothing here is trusted by a Keep: what is fetched is checked again by
whoever uses it. ``parse_reference`` -> ``Registry.pull`` into a ``Store``; ``Registry.push_package``.
"""

from __future__ import annotations

from enarx.registry.access import Access
from enarx.registry.client import Attached, Fetched, Pulled, Registry
from enarx.registry.credentials import Credentials, DockerCredentials
from enarx.registry.manifest import Descriptor, Index, Manifest
from enarx.registry.progress import Progress
from enarx.registry.reference import Reference, parse_reference
from enarx.registry.store import Store

__all__ = [
    "Access",
    "Attached",
    "Credentials",
    "Descriptor",
    "DockerCredentials",
    "Fetched",
    "Index",
    "Manifest",
    "Progress",
    "Pulled",
    "Reference",
    "Registry",
    "Store",
    "parse_reference",
]
