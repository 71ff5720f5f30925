"""One registry: requests with its authentication, redirects within bounds, and its refusals as errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from enarx.errors import RegistryError
from enarx.registry.auth import Authenticator
from enarx.registry.credentials import HUB_HOST, Lookup
from enarx.registry.digest import parse_json
from enarx.registry.progress import Progress
from enarx.registry.retry import TRANSIENT_STATUSES, Patience, parse_retry_after
from enarx.registry.transport import ERROR_MAX_BYTES, Http, Request, Response, TransientError
from enarx.registry.urls import Url, parse_url, split_authority

REDIRECTS_MAX: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HUB_API_HOST: Final = "registry-1.docker.io"
_SHOWN_ERRORS: Final = 3


class Endpoint:
    """The registry at ``host`` (with its port), as references name it."""

    def __init__(self, host: str, http: Http, lookup: Lookup | None) -> None:
        self.host = host
        self.access = http.access
        self._http = http
        place = _HUB_API_HOST if host == HUB_HOST else host
        name, port = split_authority(place) or (place, None)
        scheme = http.access.scheme(name.strip("[]"), port)
        self.base = parse_url(f"{scheme}://{place}/v2/")
        self.auth = Authenticator(host, self.base, http, lookup)

    def request(self, request: Request, scope: str) -> Response:
        """Send a request, with credentials if the registry asks for them; follow redirects of GET and HEAD.

        The answer has any status but 401 and those that may pass. Raises TransientError and RegistryError.
        """
        ours = request.url.origin == self.base.origin
        authorization = self.auth.header(scope) if ours else None
        for last in (False, True):
            credentials = {"Authorization": authorization} if authorization else {}
            authorized = replace(request, headers={**request.headers, **credentials})
            response = self._http.send(authorized)
            if response.status != 401 or not ours:
                break
            with response:
                if last:
                    raise self.auth.rejected()
                authorization = self.auth.answer(response, scope)
        if response.status in REDIRECTS and request.method in ("GET", "HEAD"):
            response = follow(self._http, authorized, response)
        if response.status in TRANSIENT_STATUSES:
            with response:
                wait = parse_retry_after(response.header("Retry-After"))
                raise TransientError(self.explain(response), wait)
        return response

    def explain(self, response: Response) -> str:
        """What a refusal says, made fit to be shown. Reads the body."""
        said = []
        try:
            document = parse_json(response.read(ERROR_MAX_BYTES, "the error"), "the error", "registry")
            errors = document.get("errors")
            for one in errors[:_SHOWN_ERRORS] if isinstance(errors, list) else ():
                if isinstance(one, dict):
                    said += [str(one.get(name, "")) for name in ("code", "message") if one.get(name)]
        except (RegistryError, TransientError):
            said = []
        text = self.auth.safe(": ".join(said))
        return f"{self.host} answers {response.status}" + (f" ({text})" if text else "")

    def refused(self, response: Response, what: str, *, missing: str = "registry-missing") -> RegistryError:
        """The error for an answer that is not the one hoped for; ``missing`` is the code for 404."""
        code, hint = "registry-refused", "what the registry says is above; its log may say more"
        if response.status == 404:
            code, hint = missing, "check the repository's name, the tag and the digest"
        elif response.status in (401, 403):
            code, hint = (
                "registry-denied",
                f"ask whoever runs {self.host} for the permission, or log in as somebody else",
            )
        elif response.status == 400 and self.base.scheme == "http":
            hint = "if it speaks TLS, name its CA with --ca-bundle"
        elif response.status == 413:
            hint = "a proxy before the registry limits what may be uploaded: have its limit raised"
        elif response.status in REDIRECTS:
            hint = "what is uploaded is not sent to where a redirect leads"
        return RegistryError(f"{what}: {self.explain(response)}", code=code, hint=hint)


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of a registry, and how it is dealt with."""

    endpoint: Endpoint
    name: str
    progress: Progress
    patience: Patience

    def url(self, path: str) -> Url:
        """Where something of it is; ``path`` is made of characters that need no escape."""
        return self.endpoint.base.join(f"/v2/{self.name}/{path}")

    def ask(self, method: str, path: str | Url, headers: Mapping[str, str] | None = None) -> Response:
        """A request to read something, as `Endpoint.request`."""
        url = path if isinstance(path, Url) else self.url(path)
        return self.endpoint.request(Request(method, url, headers or {}), f"repository:{self.name}:pull")

    def lead(self, response: Response, location: str) -> Url:
        """Where an answer sends us next, if it may; RegistryError ``registry-url`` or ``registry-insecure``."""
        url = response.url.join(location)
        self.endpoint.access.check(url, response.url)
        return url

    def tell(self, request: Request) -> Response:
        """A request of those that write something, as `Endpoint.request`."""
        return self.endpoint.request(request, f"repository:{self.name}:pull,push")


def follow(http: Http, request: Request, response: Response) -> Response:
    """Where the redirects end that begin with ``response`` to a GET or HEAD; REDIRECTS_MAX are followed.

    Credentials go no further than the host, the port and the scheme that they were for. RegistryError
    ``registry-redirect``.
    """
    first, headers = request.url, request.headers
    for _ in range(REDIRECTS_MAX):
        with response:
            location = response.header("Location")
            if location is None:
                raise _astray(first, "a redirect leads nowhere")
            url = response.url.join(location)
            http.access.check(url, response.url)
        if url.origin != first.origin:
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        response = http.send(Request(request.method, url, headers))
        if response.status not in REDIRECTS:
            return response
    response.close()
    raise _astray(first, f"there are more than {REDIRECTS_MAX} redirects")


def _astray(url: Url, reason: str) -> RegistryError:
    return RegistryError(
        f"{url} cannot be had: {reason}", code="registry-redirect", hint="the server sends us in circles, or astray"
    )
