"""Which certificates the process trusts, read once: every client that reads them for itself takes 20 ms for it."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """What httpx would make for each client, for all of them."""
    return httpx.create_ssl_context()
