"""What every answer carries for browsers, and how large the part of a request before its body may be."""

from __future__ import annotations

from starlette.types import Message, Scope

from api.errors import ApiError, HeadersTooLarge, TargetTooLong

LARGEST_HEADERS = 32 * 1024
MOST_HEADERS = 100
LONGEST_TARGET = 8 * 1024

_EVERYWHERE = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",  # does not concern pages that CORS lets in
    b"cache-control": b"no-store",
}
_POLICY = b"content-security-policy"
# JSON needs nothing. A page that needs other than its own files says so itself.
_FOR_DATA = b"default-src 'none'; frame-ancestors 'none'"
_FOR_PAGES = b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
# Swagger's page starts itself by a script that stands in it, and brings its icons with its styles.
_FOR_DOCS = (
    b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; connect-src 'self';"
    b" img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class SecurityHeaders:
    """Adds them where the handler has not set its own."""

    def __init__(self, hsts_seconds: int) -> None:
        hsts = {b"strict-transport-security": f"max-age={hsts_seconds}".encode()} if hsts_seconds else {}
        self._everywhere = list((_EVERYWHERE | hsts).items())

    def add_to(self, start: Message, path: str) -> None:
        """Completes the headers of an http.response.start message."""
        headers = start["headers"]
        present = dict(headers)
        headers.extend(pair for pair in self._everywhere if pair[0] not in present)
        if _POLICY not in present:
            is_page = present.get(b"content-type", b"").startswith(b"text/html")
            page = _FOR_DOCS if path.startswith("/docs") else _FOR_PAGES
            headers.append((_POLICY, page if is_page else _FOR_DATA))


def excess(scope: Scope) -> ApiError | None:
    """What is too large about a request, apart from its body."""
    closing = {"Connection": "close"}
    if len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        return TargetTooLong(headers=closing)
    headers = scope["headers"]
    if len(headers) > MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > LARGEST_HEADERS:
        return HeadersTooLarge(headers=closing)
    return None
