"""Where people sign in to the dashboard: at Clerk, or at the sandbox's stand-in for it."""

from __future__ import annotations

import base64
import binascii
import re

_OF_THIS_MACHINE = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?(?:/[^\s?#;,]*)?", re.ASCII)
_HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_KINDS = ("pk_live", "pk_test")


def frontend_host(publishable_key: str) -> str:
    """The host that is written into a publishable key, as base64 with a $ at its end; empty where there is none.

    It ends up in the page's Content-Security-Policy, so nothing but a host's name is taken.
    """
    kind, _, encoded = publishable_key.rpartition("_")
    try:
        told = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return ""
    host = told.removesuffix("$")
    return host if kind in _KINDS and told != host and _HOST.fullmatch(host) else ""


def is_of_this_machine(address: str) -> bool:
    """Whether only a browser on the shim's own machine can sign in there.

    Set by mistake in production it would lead everybody to their own machine, and nobody in.
    """
    return _OF_THIS_MACHINE.fullmatch(address) is not None
