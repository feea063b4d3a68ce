"""What a person sees of a command: a line for each finished step, and a live one for what is under way.

Where nobody watches (a pipe, CI, TERM=dumb) there are the finished lines alone, without a control character. Colour
only repeats what the words say.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO, TypeAlias

from rich.console import Console
from rich.live import Live
from rich.text import Text

from deployments.streams import has_colour, is_watched

Piece: TypeAlias = "str | tuple[str, str]"
"""Text, or text with a style of Rich's."""

QUIET = "dim"
INTERRUPTED = 130

_FRAMES = "|/-\\"
_FRAMES_A_SECOND = 8


@dataclass
class Step:
    """What is said of a step when it has ended well."""

    done: str


class Terminal:
    def __init__(self, output: TextIO | None = None) -> None:
        self.output = output or sys.stdout
        self._is_watched = is_watched(self.output)
        self._has_colour = has_colour(self.output)
        self._console = Console(
            file=self.output,
            force_terminal=self._is_watched,
            force_interactive=self._is_watched,
            color_system="standard" if self._has_colour else None,
            no_color=not self._has_colour,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._live: Live | None = None
        self._doing = ""
        self._since = 0.0

    def line(self, *pieces: Piece) -> None:
        """A line that stays, above the live one where there is one; never broken: addresses are there to be copied."""
        if self._is_watched or self._has_colour:
            self._console.print(Text.assemble(*pieces), soft_wrap=True)
        else:
            self.output.write("".join(piece if isinstance(piece, str) else piece[0] for piece in pieces) + "\n")
        self.output.flush()

    def progress(self, doing: str) -> None:
        """What is under way from now on; the seconds beside it count from the first such call since `settle`."""
        self._doing = doing
        if self._live is None and self._is_watched:
            self._since = time.monotonic()
            self._live = Live(
                get_renderable=self._moving,
                console=self._console,
                transient=True,
                refresh_per_second=_FRAMES_A_SECOND,
                # What goes to a file stays there.
                redirect_stderr=sys.stderr.isatty(),
            )
            self._live.start(refresh=True)

    def settle(self) -> None:
        """Takes the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    @contextmanager
    def step(self, doing: str) -> Iterator[Step]:
        """Shows what is under way. When it has ended well, says its `done` and how long it took; else nothing."""
        step, began = Step(doing), time.monotonic()
        try:
            self.progress(doing)
            yield step
        finally:
            self.settle()
        self.line(step.done, (f" ({time.monotonic() - began:.1f} s)", QUIET))

    def _moving(self) -> Text:
        seconds = time.monotonic() - self._since
        frame = _FRAMES[int(seconds * _FRAMES_A_SECOND) % len(_FRAMES)]
        return Text(f"{frame} {seconds:3.0f} s  {self._doing}", no_wrap=True, overflow="ellipsis")


def complain(sentence: str, *, by: str = "") -> None:
    """An error on stderr: what is wrong and what to do, in a line or two; `by` is the command that says it."""
    Terminal(sys.stderr).line((f"{by}: ", "bold red") if by else "", sentence)


def ended(main: Callable[[], int]) -> int:
    """The exit status of a command: Ctrl-C ends it quietly."""
    try:
        return main()
    except KeyboardInterrupt:
        return INTERRUPTED
