"""One reader for any number of listeners: what comes is read once a process, and only while somebody listens.

The reader keeps the last entries. A listener that is within them is handed them; one that resumes further back, or was
slow and has fallen behind, reads on its own from its position until it is within them. So nothing is ever queued for a
listener, and each is given everything beyond its position once, in the order of the positions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from flows.core.errors import SchedulerError

P = TypeVar("P", bound=Any)
# What is kept for listeners that are a little behind, and what one of them is given at once.
MOST_KEPT, MOST_KEPT_BYTES = 1000, 4_000_000
MOST_AT_ONCE_BYTES = 64_000
_AFTER_A_MISTAKE_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry(Generic[P]):
    """Something that is told: where it stands, what of it listeners choose by, and its bytes."""

    position: P
    chunk: bytes
    facts: tuple[Any, ...]


@dataclass(frozen=True)
class Reading(Generic[P]):
    """What was found beyond a position, and the position after it."""

    entries: list[Entry[P]]
    position: P
    more: bool = False
    waits_for: str | None = None
    ended: bool = False


class ForgottenError(Exception):
    """What came after a position is not kept any more; `newest` is where to go on."""

    def __init__(self, newest: Any) -> None:
        super().__init__(newest)
        self.newest = newest


class Source(Protocol[P]):
    def start(self, after: P | None) -> P | None:
        """Where the reader begins for its first listener; None: at what is newest then."""
        ...

    async def read(self, after: P | None, *, live: bool) -> Reading[P]:
        """What comes next. Raises ForgottenError, where `live` only if there is nothing at that position at all."""
        ...


class Sign(Enum):
    """What a listener is told beside the entries."""

    READY = "ready"  # all that was there has been told, what comes is told as it comes
    WAITING = "waiting"  # for what there is nothing of yet
    UNAVAILABLE = "unavailable"  # what is read from does not answer; it goes on by itself when it does
    RESET = "reset"
    END = "end"


@dataclass(frozen=True)
class Step(Generic[P]):
    """What a listener is told next, and its position then."""

    position: P | None
    entries: list[Entry[P]]
    sign: Sign | None = None
    reason: str | None = None


class Feed(Generic[P]):
    def __init__(
        self,
        what: str,
        source: Source[P],
        *,
        interval_seconds: float,
        busy_seconds: float | None = None,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._what = what
        self._source = source
        self._interval = interval_seconds
        # While things come all the time they are told to everybody less often, and more of them together.
        self._busy_interval = busy_seconds or interval_seconds
        self._idle = idle
        self._listeners = 0
        self._reader: asyncio.Task[None] | None = None
        self._begin(None)

    def _begin(self, position: P | None) -> None:
        self._position = position
        self._before = position  # the position before the first entry that is kept
        self._kept: deque[Entry[P]] = deque()
        self._kept_bytes = 0
        self._trouble: tuple[Sign, str] | None = None
        self._is_current = False
        self._has_ended = False
        self._changed = asyncio.Event()

    @contextmanager
    def _listening(self, after: P | None) -> Iterator[None]:
        self._listeners += 1
        if self._reader is None:
            self._begin(self._source.start(after))
            self._reader = asyncio.create_task(self._read_on(), name=f"reader of {self._what}")
        try:
            yield
        finally:
            self._listeners -= 1
            if self._listeners == 0:
                self._reader.cancel()
                self._reader = None
                self._idle()

    async def _read_on(self) -> None:
        while not self._has_ended:
            pause = self._interval
            try:
                reading = await self._source.read(self._position, live=True)
            except SchedulerError as error:
                self._note_trouble(str(error))
            except ForgottenError as error:
                # The database is another one, or an older state of it.
                self._kept.clear()
                self._kept_bytes = 0
                self._position = self._before = error.newest
            except Exception:
                # A mistake of ours in one turn must not end the reader.
                logger.exception("Reading %s failed", self._what)
                self._note_trouble("something is wrong here")
                pause = max(pause, _AFTER_A_MISTAKE_SECONDS)
            else:
                self._take(reading)
                if reading.entries:
                    pause = 0 if reading.more else self._busy_interval
            self._changed.set()
            self._changed = asyncio.Event()
            await asyncio.sleep(pause)

    def _note_trouble(self, trouble: str) -> None:
        if self._trouble != (Sign.UNAVAILABLE, trouble):
            logger.warning("Reading %s: %s", self._what, trouble)
        self._trouble = Sign.UNAVAILABLE, trouble

    def _take(self, reading: Reading[P]) -> None:
        if self._position is None:
            self._before = reading.position
        for entry in reading.entries:
            self._kept.append(entry)
            self._kept_bytes += len(entry.chunk)
            while len(self._kept) > MOST_KEPT or (self._kept_bytes > MOST_KEPT_BYTES and len(self._kept) > 1):
                oldest = self._kept.popleft()
                self._before = oldest.position
                self._kept_bytes -= len(oldest.chunk)
        self._position = reading.position
        self._trouble = (Sign.WAITING, reading.waits_for) if reading.waits_for else None
        self._is_current = not reading.more
        self._has_ended = reading.ended

    async def listen(self, after: P | None) -> AsyncGenerator[Step[P], None]:
        """Everything beyond a position; without one, from where the reader begins or has come to."""
        with self._listening(after):
            position = after if after is not None else self._source.start(None)
            said: tuple[Sign, str | None] | None = None
            while True:
                changed = self._changed
                told: Step[P] | None = None
                trouble = self._trouble
                if position is None:
                    position = self._position
                if position is not None and self._position is not None:
                    try:
                        told = self._next(position) if self._is_within(position) else await self._catch_up(position)
                    except SchedulerError as error:
                        trouble = Sign.UNAVAILABLE, str(error)
                if told is not None:
                    position = told.position
                    yield told
                    said = None if told.sign else said
                    continue
                sign = trouble or self._sign(position)
                if sign is not None and sign != said:
                    said = sign
                    yield Step(position, [], *sign)
                    if sign[0] is Sign.END:
                        return
                await (asyncio.sleep(self._interval) if self._has_ended else changed.wait())

    def _is_within(self, position: P) -> bool:
        """Whether all that follows a position is kept here, or will come here."""
        return bool(self._before <= position <= self._position)

    def _next(self, position: P) -> Step[P] | None:
        """The entries beyond a position, a handful of those that are kept."""
        kept = self._kept
        if not kept or kept[-1].position <= position:
            return None
        first = len(kept)
        while first > 0 and kept[first - 1].position > position:
            first -= 1
        entries, size = [], 0
        while first < len(kept) and size < MOST_AT_ONCE_BYTES:
            entries.append(kept[first])
            size += len(kept[first].chunk)
            first += 1
        return Step(entries[-1].position, entries)

    async def _catch_up(self, position: P) -> Step[P] | None:
        """What a listener reads on its own; None where there is nothing new."""
        try:
            reading = await self._source.read(position, live=False)
        except ForgottenError as error:
            return Step(error.newest, [], Sign.RESET)
        return Step(reading.position, reading.entries) if reading.position != position else None

    def _sign(self, position: P | None) -> tuple[Sign, str | None] | None:
        if position is None or not self._is_current or not self._is_within(position):
            return None
        return (Sign.END, None) if self._has_ended else (Sign.READY, None)
