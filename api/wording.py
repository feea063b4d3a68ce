"""How times, durations and other people's texts are told in sentences."""

from __future__ import annotations

from datetime import UTC, datetime

from flows.core.redaction import redact

_LONGEST_TEXT = 300
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def moment(at: datetime) -> str:
    """The time to the second, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def duration(seconds: float) -> str:
    """The time span in its two largest units' worth of precision: 45 s, 3 min, 2 h, 5 days."""
    whole = max(0, round(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 2 * _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR} h"
    return f"{whole // _DAY} days"


def said(text: str | None) -> str:
    """A text from outside as a part of a sentence: on one line, redacted, not too long, without its full stop."""
    return redact(" ".join((text or "").split()), limit=_LONGEST_TEXT).rstrip(".")


def joined(first: str, then: str | None) -> str:
    """Two sentences as one."""
    return f"{first.rstrip('.')}; {then[0].lower()}{then[1:]}" if then else first
