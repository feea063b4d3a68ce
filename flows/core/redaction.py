"""Takes out of free text what must never be stored or logged: addresses of people, tokens, what stands behind a `?`."""

from __future__ import annotations

import re

MAX_LENGTH = 500
# Text beyond this many times the wanted length is not even looked at.
_LOOKED_AT = 4

# Every repetition is bounded and no rule can start again inside its own match: strangers choose some of these texts,
# and a pattern that goes back over them would hold up the whole process.
# Each rule begins with what a text that it could match has in it. Most texts have none of it, and to look for
# that first takes a tenth of the time.
_RULES: list[tuple[str, re.Pattern[str], str]] = [
    ("eyJ", re.compile(r"(?<![\w-])eyJ[\w-]{1,4000}\.[\w-]{1,8000}\.[\w-]{0,4000}"), "<token>"),
    # Keys by the form their makers gave them: Clerk's, Supabase's, and ours for scripts.
    (
        "_",
        re.compile(r"(?<![A-Za-z0-9])(?:[sp]k_(?:live|test)|sb_secret|sbp|sched)_[\w-]{12,300}"),
        "<key>",
    ),
    ("", re.compile(r"(?i)\b(bearer|basic)\s{1,5}[\w.~+/=-]{1,8000}"), r"\1 <token>"),
    ("://", re.compile(r"(?i)(?<!\w)(https?://[^\s?#'\"<>]{1,2000})[?#][^\s'\"<>]*"), r"\1"),
    (
        "",
        re.compile(r"(?i)\b(apikey|api[_-]key|secret|password|token)(\s{0,5}[=:]\s{0,5})[^\s,;'\"]{1,2000}"),
        r"\1\2<secret>",
    ),
    ("://", re.compile(r"(?i)(?<!\w)(\w{1,20}://)[^/\s@]{1,500}@"), r"\1<credentials>@"),
    (
        "@",
        re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63}){1,8}"),
        "<address>",
    ),
]


def redact(text: str, limit: int = MAX_LENGTH) -> str:
    """The text without addresses, tokens and query strings, cut to `limit` characters."""
    if len(text) > limit * _LOOKED_AT:
        text = text[: limit * _LOOKED_AT].rsplit(maxsplit=1)[0]
    for part, pattern, replacement in _RULES:
        if part in text:
            text = pattern.sub(replacement, text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
