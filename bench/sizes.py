"""How big a benchmark is, said on its command line as `name=N`."""

from __future__ import annotations

from collections.abc import Mapping


def sizes_of(arguments: list[str], usual: Mapping[str, int]) -> dict[str, int]:
    """The usual sizes with those of the arguments. Exits with what there is where one is not known."""
    sizes = dict(usual)
    for argument in arguments:
        name, _, number = argument.partition("=")
        if name not in sizes or not number.isdigit():
            raise SystemExit(f"{argument!r} is none of {', '.join(f'{name}=N' for name in usual)}")
        sizes[name] = int(number)
    return sizes
