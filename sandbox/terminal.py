"""What the person at the terminal sees of the stack: each part as it becomes ready, and what is waited for."""

from collections.abc import Iterable

from deployments import terminal
from deployments.terminal import QUIET
from sandbox.stack import Reporter

_READY = "green"


class Terminal(terminal.Terminal, Reporter):
    """A line for each part and each step; they fit into 80 columns."""

    def ready(self, name: str, where: str, seconds: float | None) -> None:
        took = "" if seconds is None else f"{seconds:5.1f} s"
        told = f"{where:<55} " if took else where
        self.line("  ", (f"{name:<12} ", _READY), told, (took, QUIET))

    def waiting(self, names: Iterable[str]) -> None:
        if left := list(names):
            self.progress(f"waiting for {', '.join(left)}")
        else:
            self.settle()

    def stopping(self) -> None:
        self.settle()
        self.progress("stopping everything")

    def stopped(self, seconds: float) -> None:
        self.settle()
        self.line("Everything is stopped", (f" ({seconds:.1f} s)", QUIET))
