"""Takes out of free text what must never be stored or logged: addresses of people, tokens, what stands behind a `?`."""

from __future__ import annotations

import re

MAX_LENGTH = 500

_RULES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*"), "<token>"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 <token>"),
    (re.compile(r"(?i)(https?://[^\s?#'\"<>]+)[?#][^\s'\"<>]*"), r"\1"),
    (re.compile(r"(?i)\b(apikey|api[_-]key|secret|password|token)(\s*[=:]\s*)[^\s,;'\"]+"), r"\1\2<secret>"),
    (re.compile(r"(?i)(\w+://)[^/\s@]+@"), r"\1<credentials>@"),
    (re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(\.[\w-]+)+"), "<address>"),
]


def redact(text: str, limit: int = MAX_LENGTH) -> str:
    """The text without addresses, tokens and query strings, cut to `limit` characters."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
