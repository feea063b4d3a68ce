"""The dashboard: a page and its files, the same for everybody. What it shows it asks the API for, as its user."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.status import HTTP_304_NOT_MODIFIED, HTTP_404_NOT_FOUND

from api import etags
from api.deps import RuntimeDep
from api.pages import File, is_page

router = APIRouter(include_in_schema=False)

_CODING = re.compile(r"(gzip|\*)(?:\s*;\s*q=(\d(?:\.\d{0,3})?))?", re.IGNORECASE)
_NOT_BUILT = """<!doctype html>
<html lang="en">
<title>The dashboard was not built</title>
<h1>The dashboard was not built</h1>
<p>The API runs, and this page has nothing to show. Build it where the shim runs, and load this page again:</p>
<pre>make dashboard/dist/.ready</pre>
<p>The image brings it along; DASHBOARD_DIR says where it is.</p>
</html>
"""


@router.api_route("/admin", methods=["GET", "HEAD"])
@router.api_route("/admin/{path:path}", methods=["GET", "HEAD"])
async def dashboard(request: Request, runtime: RuntimeDep, path: str = "") -> Response:
    """The file of that path, or the page, which knows itself what to show for a path of its own."""
    pages = runtime.pages
    always = {"Content-Security-Policy": pages.policy, "Cross-Origin-Opener-Policy": "same-origin"}
    if (found := pages.find(path)) is not None:
        return _answer(request, found, always)
    if is_page(path):
        return Response(_NOT_BUILT, HTTP_404_NOT_FOUND, always, "text/html")
    raise HTTPException(HTTP_404_NOT_FOUND)


def _answer(request: Request, file: File, always: dict[str, str]) -> Response:
    # Weak: the compressed and the plain form have the same one.
    headers = {"ETag": f'W/"{file.tag}"', "Cache-Control": file.cache_control, "Vary": "Accept-Encoding", **always}
    if etags.is_known(request.headers.getlist("if-none-match"), f'"{file.tag}"'):
        return Response(None, HTTP_304_NOT_MODIFIED, headers)
    if file.compressed is not None and _takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(file.compressed, headers=headers | {"Content-Encoding": "gzip"}, media_type=file.media_type)
    return Response(file.body, headers=headers, media_type=file.media_type)


def _takes_gzip(accept_encoding: str) -> bool:
    found = [_CODING.fullmatch(one.strip()) for one in accept_encoding.split(",")]
    weights = {one[1].lower(): float(one[2] or 1) for one in found if one is not None}
    return weights.get("gzip", weights.get("*", 0)) > 0
