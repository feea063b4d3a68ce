"""The dashboard's files, as `make` has built them: read once, compressed once, and read again after another build.

Answered are the paths of files that were found there, and nothing else: no path of a request reaches the disk.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from api.settings import ShimSettings

_INDEX = "index.html"
_HASHED = "assets/"
# A page of the dashboard is a path without a dot: what has one asks for a file.
_OF_A_PAGE = re.compile(r"[\w-]+(?:/[\w-]+)*/?", re.ASCII)
_LONGEST_PAGE_PATH = 500
_WORTH_COMPRESSING = 1000  # bytes; one packet holds less
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".map": "application/json",
}
_COMPRESSED_BY_THEMSELVES = (".png", ".ico", ".woff2")
_UNKNOWN = "application/octet-stream"
_A_YEAR = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    body: bytes
    compressed: bytes | None
    """The same with gzip, where that is worth it."""
    media_type: str
    tag: str
    cache_control: str


class Pages:
    """What is under /admin."""

    def __init__(self, settings: ShimSettings) -> None:
        self.policy = policy(settings)
        self._folder = settings.dashboard_dir
        self._built_at: int | None = None
        self._files: Mapping[str, File] = MappingProxyType({})
        self.find("")

    def find(self, path: str) -> File | None:
        """The file of a path below /admin, the page for every path that is one of its own; None for others.

        The page itself is None where the dashboard was not built.
        """
        if found := self._files.get(path):
            if path != _INDEX:
                return found
        elif not is_page(path):
            return None
        self._read_again()
        return self._files.get(_INDEX)

    def _read_again(self) -> None:
        """Reads everything if there was another build. One look at one file, each time the page is loaded."""
        try:
            built_at = (self._folder / _INDEX).stat().st_mtime_ns
        except OSError:
            built_at = None
        if built_at == self._built_at:
            return
        try:
            self._files = MappingProxyType(dict(_read(self._folder)) if built_at else {})
        except OSError as error:
            # In the middle of a build: what there was is still the best there is.
            logger.warning("The dashboard cannot be read: %s", error)
            return
        self._built_at = built_at


def is_page(path: str) -> bool:
    """Whether it is a path that the page itself shows something for, and not one of a file."""
    if not path or path == _INDEX:
        return True
    return len(path) <= _LONGEST_PAGE_PATH and not path.startswith(_HASHED) and bool(_OF_A_PAGE.fullmatch(path))


def policy(settings: ShimSettings) -> str:
    """The page's Content-Security-Policy: its own files, this API, and where its people sign in."""
    clerk = settings.clerk_frontend
    connect = clerk or _origin(settings.dashboard_sign_in_url)
    directives = {
        "default-src": "'none'",
        "script-src": f"'self' {clerk}",
        "style-src": "'self'",
        "connect-src": f"'self' {connect}",
        "img-src": f"'self' data: {'https://img.clerk.com' if clerk else ''}",
        "font-src": "'self'",
        "manifest-src": "'self'",
        # Clerk's script counts the minutes of a session in a worker that it makes itself.
        **({"worker-src": "'self' blob:"} if clerk else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}".strip() for name, value in directives.items())


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def _read(folder: Path) -> list[tuple[str, File]]:
    """Every file below the folder by its path there, but those that begin with a dot and those that lead elsewhere."""
    inside = folder.resolve()
    found = []
    for path in sorted(inside.rglob("*")):
        parts = path.relative_to(inside).parts
        if path.is_file() and not path.is_symlink() and not any(part.startswith(".") for part in parts):
            found.append(("/".join(parts), _file(path, hashed=parts[0] == _HASHED.rstrip("/"))))
    return found


def _file(path: Path, *, hashed: bool) -> File:
    body = path.read_bytes()
    small = len(body) < _WORTH_COMPRESSING or path.suffix in _COMPRESSED_BY_THEMSELVES
    compressed = None if small else gzip.compress(body, mtime=0)
    return File(
        body=body,
        compressed=compressed if compressed and len(compressed) < len(body) else None,
        media_type=_TYPES.get(path.suffix, _UNKNOWN),
        tag=hashlib.blake2b(body, digest_size=12).hexdigest(),
        cache_control=_A_YEAR if hashed else _ASK_AGAIN,
    )
