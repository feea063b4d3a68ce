"""Fetching one page and reading its title, description and image: what the crawler writes on a row."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx
from bs4 import BeautifulSoup, Tag, XMLParsedAsHTMLWarning
from bs4.filter import SoupStrainer

FETCH_SECONDS = 10
MAX_REDIRECTS = 5
MAX_BODY_BYTES = 2_000_000
LONGEST_TITLE, LONGEST_DESCRIPTION, LONGEST_URL = 500, 2_000, 2_048
_HTML_TYPES = {"", "text/html", "application/xhtml+xml"}
_READ = SoupStrainer(["title", "meta"])


class PageError(Exception):
    """The page cannot be read; the text is what ends up in `crawl_error`."""


@dataclass(frozen=True)
class Page:
    title: str | None
    description: str | None
    image_url: str | None


@asynccontextmanager
async def page_client() -> AsyncIterator[httpx.AsyncClient]:
    """The one client that fetches pages; addresses of this machine never go through a proxy."""
    headers = {
        "user-agent": "StumbleableBot/1.0 (sandbox)",
        "accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1",
    }
    async with httpx.AsyncClient(
        headers=headers,
        timeout=FETCH_SECONDS,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        mounts={"all://127.0.0.1": None, "all://localhost": None},
    ) as client:
        yield client


async def read_page(client: httpx.AsyncClient, url: str) -> Page:
    """What the page says about itself. PageError after 10 seconds at most, however slowly its body drips."""
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            body, charset, final_url = await _fetch(client, url)
    except (TimeoutError, httpx.TimeoutException) as slow:
        raise PageError(f"Timeout after {FETCH_SECONDS}s") from slow
    except httpx.TooManyRedirects as loop:
        raise PageError("Too many redirects") from loop
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as unreachable:
        raise PageError(f"Fetch failed: {unreachable or type(unreachable).__name__}") from unreachable
    # Parsing two megabytes takes a good part of a second: not on the loop that keeps the time of the other fetches.
    return await asyncio.to_thread(parse_page, body, charset, final_url)


def parse_page(body: bytes, charset: str | None, url: str) -> Page:
    """Title, description and image of an HTML document; `charset` as the HTTP header gave it, which may be wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        soup = BeautifulSoup(body, "html.parser", from_encoding=charset, parse_only=_READ)
    image = _meta(soup, "og:image", "twitter:image")
    return Page(
        title=_text(soup.title, LONGEST_TITLE) or _meta(soup, "og:title", limit=LONGEST_TITLE),
        description=_meta(soup, "description", "og:description", limit=LONGEST_DESCRIPTION),
        image_url=_absolute(url, image) if image else None,
    )


async def _fetch(client: httpx.AsyncClient, url: str) -> tuple[bytes, str | None, str]:
    async with client.stream("GET", url) as answer:
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise PageError(f"HTTP {answer.status_code}")
        content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in _HTML_TYPES:
            raise PageError(f"Not an HTML page: {content_type}")
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                # Cut behind a tag: half a character at the end would make the parser doubt the whole encoding.
                del body[MAX_BODY_BYTES:]
                del body[body.rfind(b">") + 1 :]
                break
        return bytes(body), answer.charset_encoding, str(answer.url)


def _meta(soup: BeautifulSoup, *names: str, limit: int = LONGEST_URL) -> str | None:
    """The content of the first meta element of these names that says anything."""
    for name in names:
        for attribute in ("name", "property"):
            for element in soup.find_all("meta", attrs={attribute: name}):
                content = _clean(str(element.get("content") or ""), limit)
                if content:
                    return content
    return None


def _text(element: Tag | None, limit: int) -> str | None:
    return _clean(element.get_text(" "), limit) if element else None


def _clean(text: str, limit: int) -> str | None:
    """One line without the NUL characters that PostgreSQL refuses, cut to `limit`; None when nothing is left."""
    return " ".join(text.replace("\x00", "").split())[:limit] or None


def _absolute(base: str, reference: str) -> str | None:
    try:
        absolute = urljoin(base, reference)
    except ValueError:
        return None
    return absolute if absolute.startswith(("http://", "https://")) else None
