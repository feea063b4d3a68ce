"""What a run writes to stdout and stderr: copied to the worker's own, the last of it kept for the report of a crash."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Self

_CHUNK_BYTES = 65536
_TAIL_BYTES = 4096
# After the end of a run its pipes are empty in no time, unless something that could not be killed holds them.
_LAST_WORDS_SECONDS = 0.5


class Output:
    """Two pipes, given to a run by their writing ends. Reading is as slow as our own output is, and so is the run."""

    # One thread: lines of several runs come out whole, and a slow terminal stops nobody's event loop.
    _writer = ThreadPoolExecutor(1, thread_name_prefix="output")

    def __init__(self, *, stream: bool) -> None:
        self._stream = stream
        self._readers: list[asyncio.Task[None]] = []
        self._tail = bytearray()
        self._pipes = (os.pipe(), os.pipe())
        self.stdout, self.stderr = (pipe[1] for pipe in self._pipes)

    @classmethod
    async def open(cls, *, stream: bool) -> Self:
        """Two new pipes that are being read."""
        self = cls(stream=stream)
        await self._read()
        return self

    async def _read(self) -> None:
        for (reading, _), target in zip(self._pipes, (1, 2), strict=True):
            reader = asyncio.StreamReader(limit=_CHUNK_BYTES)
            protocol = partial(asyncio.StreamReaderProtocol, reader)
            pipe = os.fdopen(reading, "rb", buffering=0)
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(protocol, pipe)
            self._readers.append(asyncio.create_task(self._copy(reader, transport, target)))

    def handed_over(self) -> None:
        """Closes our copies of the writing ends, so that the run's end is the end of the pipes."""
        for _, writing in self._pipes:
            os.close(writing)

    async def drained(self) -> None:
        """Returns when all is read that was written before the run ended."""
        _, late = await asyncio.wait(self._readers, timeout=_LAST_WORDS_SECONDS)
        for task in late:
            task.cancel()

    @property
    def last_words(self) -> str:
        """The end of what the run wrote to stderr."""
        return self._tail.decode(errors="replace").strip()

    async def _copy(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport, target: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(_CHUNK_BYTES):
                if target == 2:  # noqa: PLR2004  # stderr
                    self._tail += data
                    del self._tail[:-_TAIL_BYTES]
                if self._stream:
                    await loop.run_in_executor(self._writer, _write, target, data)
        finally:
            transport.close()


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except OSError:  # nobody reads the worker's output any more; the run must not suffer from it
            return
