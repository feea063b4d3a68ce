"""A second app that embeds the panel, built as its authors would, on an origin of its own and without a server."""

from __future__ import annotations

import asyncio
import mimetypes
from pathlib import Path

from playwright.async_api import BrowserContext, Route

from sandbox.state import REPOSITORY

ORIGIN = "http://localhost:3000"  # one that the sandbox's shim lets call
_HOST = Path(__file__).parent / "host"
_TOOLS = REPOSITORY / "dashboard" / "node_modules" / ".bin"


async def build(folder: Path) -> None:
    """Checks the app's types against the panel's, and builds it into the folder."""
    await _run("tsc", "--project", str(_HOST))
    await _run("vite", "build", "--config", str(_HOST / "vite.config.mjs"), "--outDir", str(folder), "--emptyOutDir")


async def serve(context: BrowserContext, folder: Path) -> None:
    """Answers the origin's addresses out of the folder, in this context."""

    async def answer(route: Route) -> None:
        path = folder / (route.request.url.removeprefix(ORIGIN).partition("?")[0].strip("/") or "index.html")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        await route.fulfill(body=path.read_bytes(), content_type=kind)

    await context.route(f"{ORIGIN}/**", answer)
    # Chromium does not know that such an answer came from this machine too, and asks whether it may call it.
    await context.grant_permissions(["local-network-access"], origin=ORIGIN)


async def _run(tool: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(_TOOLS / tool), *arguments, cwd=_HOST, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
