"""For how long a neighbour has been there. Times are monotonic seconds, given by the caller."""

from __future__ import annotations

# One dropped connection is no outage: nobody who tries again is kept from anything by it.
LONGEST_BLIP_SECONDS = 10.0


class Presence:
    """Since when calls have been answered, apart from blips of up to 10 seconds."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._failing_since: float | None = None

    def answered(self, now: float) -> None:
        """Notes an answer; after an absence the time starts anew."""
        was_away = self._failing_since is not None and now - self._failing_since > LONGEST_BLIP_SECONDS
        if self._since is None or was_away:
            self._since = now
        self._failing_since = None

    def failed(self, now: float) -> None:
        """Notes a call without an answer."""
        if self._failing_since is None:
            self._failing_since = now

    def seconds(self, now: float) -> float:
        """How long it has been answering; 0 before the first answer and while it fails."""
        return 0.0 if self._since is None or self._failing_since is not None else now - self._since
