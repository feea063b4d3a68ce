"""By what a changed file is told from the one that was imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, TypeAlias

Stamp: TypeAlias = tuple[int, int]
"""Time of the last change in nanoseconds, and size in bytes; zeros for a file that is not there."""


def stamp(path: str) -> Stamp:
    try:
        found = Path(path).stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


@contextmanager
def noted_imports() -> Iterator[dict[str, Stamp]]:
    """Each source file that is imported meanwhile, with its stamp of just before it was read.

    One that is taken later would pass off as imported what was written in between.
    """
    noted: dict[str, Stamp] = {}
    asked_first = SourceFileLoader.path_stats

    def noting(loader: SourceFileLoader, path: Any) -> Any:
        noted[str(path)] = stamp(str(path))
        return asked_first(loader, path)

    SourceFileLoader.path_stats = noting  # type: ignore[method-assign,assignment]
    try:
        yield noted
    finally:
        SourceFileLoader.path_stats = asked_first  # type: ignore[method-assign]
