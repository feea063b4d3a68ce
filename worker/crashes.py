"""What the end of a run's process is called when the run itself could not say it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from flows.core.redaction import redact

if TYPE_CHECKING:
    from worker.launch import Launched, Order
    from worker.requests import Limits

_LAST_LINES = 6


def crash_message(launched: Launched, order: Order) -> str:
    """One sentence why, and the last lines the process wrote to stderr, without secrets."""
    reason = _reason(launched, order)
    words = _last_words(launched.output.last_words)
    return f"{reason} Last words:\n{redact(words)}" if words else reason


def _last_words(text: str) -> str:
    """The last lines; of an interpreter that died, what it died of and the innermost calls, which come first."""
    _, fatal, trace = text.partition("Fatal Python error")
    lines = (fatal + trace).splitlines()[:_LAST_LINES] if fatal else text.splitlines()[-_LAST_LINES:]
    return "\n".join(line for line in lines if line)


def _reason(launched: Launched, order: Order) -> str:
    code = launched.process.returncode
    limits = order.configuration.limits
    if launched.process.groups.was_out_of_memory():
        return f"Out of memory: the run needed more than its limit of {limits.memory_mb} MB and was killed."
    if code is None:
        return "The run's process cannot be found."
    if code < 0:
        return _death(-code, limits)
    if "MemoryError" in launched.output.last_words:
        return f"Out of memory: the run got no more than its limit of {limits.memory_mb} MB, and ended ({code})."
    return f"Process exited with status code {code}, and the run had not reported an end."


def _death(number: int, limits: Limits) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGXCPU:
        return f"CPU time: the run used more than its limit of {limits.cpu_seconds} s ({name})."
    if number == signal.SIGKILL:
        return f"Killed ({name}) by something other than the worker: the machine's memory, or a person."
    return f"Process died of {name}."
