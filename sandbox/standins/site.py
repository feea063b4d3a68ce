"""A small site of pages to crawl: good ones, and one of each kind that gives a crawler trouble.

`/bulk/{n}` is a good page for every whole number n, with the title `Bulk page n`.
What the crawler must make of the seeded ones is in `site_pages.SEED_PAGES`.
"""

import asyncio
from collections.abc import AsyncIterator
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.standins import site_pages as pages
from sandbox.standins.service import Environment, build_service

SLOW_SECONDS = 3
TOO_SLOW_SECONDS = 60
HUGE_PARAGRAPHS = 24_000
_PARAGRAPH = f"<p>{'All work and no play makes this a very long page. ' * 20}</p>\n"
_ARTICLES = {article.slug: article for article in pages.ARTICLES}


def build(_env: Environment) -> ASGIApp:
    return build_service(
        "site",
        [
            Route("/", _front_page),
            Route("/articles/{slug}", _article),
            Route("/bulk/{n:int}", _bulk),
            Route("/images/{name}.svg", _image),
            Route("/slow", _slow),
            Route("/too-slow", _too_slow),
            Route("/drip", _drip),
            Route("/loop", _loop),
            Route("/malformed", _malformed),
            Route("/huge", _huge),
            Route("/windows-1251", _windows_1251),
            Route("/shift-jis", _shift_jis),
            Route("/untitled", _untitled),
            Route("/report.pdf", _pdf),
        ],
    )


def _page(title: str, description: str, image: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(title)}</title>
<meta name="description" content="{escape(description)}">
<meta property="og:title" content="{escape(title)}">
<meta property="og:image" content="{escape(image)}">
</head>
<body><h1>{escape(title)}</h1><p>{escape(description)}</p><img src="{escape(image)}" alt=""></body>
</html>
"""


async def _front_page(_request: Request) -> Response:
    links = "".join(f'<li><a href="{page.path}">{page.title or page.path}</a></li>' for page in pages.SEED_PAGES)
    return HTMLResponse(f"<!doctype html><title>Pages to crawl</title><ul>{links}</ul>")


async def _article(request: Request) -> Response:
    article = _ARTICLES.get(request.path_params["slug"])
    if article is None:
        return HTMLResponse("<title>Not found</title>", status_code=404)
    return HTMLResponse(_page(article.title, article.description, f"/images/{article.slug}.svg"))


async def _bulk(request: Request) -> Response:
    n = request.path_params["n"]
    return HTMLResponse(_page(f"Bulk page {n}", f"Number {n} of as many as anybody asks for.", f"/images/bulk-{n}.svg"))


async def _image(request: Request) -> Response:
    hue = sum(request.path_params["name"].encode()) % 360
    picture = f'<svg xmlns="http://www.w3.org/2000/svg"><path fill="hsl({hue} 50% 60%)" d="M0 0h160v90H0z"/></svg>'
    return Response(picture, media_type="image/svg+xml")


async def _slow(_request: Request) -> Response:
    await asyncio.sleep(SLOW_SECONDS)
    return HTMLResponse(_page(pages.SLOW_TITLE, "This page thinks before it speaks.", "/images/slow.svg"))


async def _too_slow(_request: Request) -> Response:
    await asyncio.sleep(TOO_SLOW_SECONDS)
    return HTMLResponse(_page("Nobody waits this long", "", "/images/too-slow.svg"))


async def _drip(_request: Request) -> Response:
    """Answer at once and then a byte at a time: no single read is ever late, only the whole page is."""

    async def drops() -> AsyncIterator[str]:
        for character in _page("Drip, Drip, Drip", "One byte every half a second.", "/images/drip.svg"):
            yield character
            await asyncio.sleep(0.5)

    return StreamingResponse(drops(), media_type="text/html")


async def _loop(request: Request) -> Response:
    turn = int(request.query_params.get("turn", "0"))
    return RedirectResponse(f"/loop?turn={turn + 1}", status_code=302)


async def _malformed(_request: Request) -> Response:
    head = f"<html><head><title>{pages.MALFORMED_TITLE}</title><meta name=description content='No tag is closed here'"
    return HTMLResponse(f'{head}<body><p>One<p>Two<table><td>Three</b></i><div class="open><a href=nowhere>')


async def _huge(_request: Request) -> Response:
    async def chunks() -> AsyncIterator[str]:
        yield _page(pages.HUGE_TITLE, "More than twenty megabytes of one sentence.", "/images/huge.svg")
        for _ in range(HUGE_PARAGRAPHS):
            yield _PARAGRAPH
            # Lets the server notice that the crawler has read enough and left.
            await asyncio.sleep(0)

    return StreamingResponse(chunks(), media_type="text/html")


async def _windows_1251(_request: Request) -> Response:
    """Name the encoding only inside the document, as old pages do."""
    page = _page(pages.CYRILLIC_TITLE, "Фотографии и заметки.", "/images/old-town.svg")
    encoded = page.replace('charset="utf-8"', 'charset="windows-1251"').encode("windows-1251")
    return Response(encoded, headers={"content-type": "text/html"})


async def _shift_jis(_request: Request) -> Response:
    """Name the encoding only in the HTTP header."""
    page = _page(pages.SHIFT_JIS_TITLE, "静かな朝のコーヒー。", "/images/kyoto.svg").replace(
        '<meta charset="utf-8">\n', ""
    )
    return Response(page.encode("shift_jis"), headers={"content-type": "text/html; charset=Shift_JIS"})


async def _untitled(_request: Request) -> Response:
    return HTMLResponse("<!doctype html><p>There was going to be a title here.</p>")


async def _pdf(_request: Request) -> Response:
    return Response(b"%PDF-1.4\n1 0 obj << /Type /Catalog >> endobj\n%%EOF\n", media_type="application/pdf")
