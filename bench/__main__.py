"""`make bench`: measures, keeps the figures in docs/benchmarks.jsonl, writes docs/benchmarks.md and prints its table.

`python -m bench` (`--full`, `--tiny`, `--only trigger,history`), `python -m bench render`, `python -m bench list`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench.cache import cache_folder
from bench.page import OTHERS, missed, page, read_reasons
from bench.parts import PARTS, Part, Size, chosen
from bench.plots import draw
from bench.results import Run, load, merged, save
from bench.runner import Unmeasured, run
from bench.table import table
from deployments.streams import is_watched
from deployments.terminal import ended
from sandbox.state import REPOSITORY


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("run", "render", "list"), default="run")
    parser.add_argument("--full", action="store_true", help="large sizes, and the systems beside ours")
    parser.add_argument("--tiny", action="store_true", help="only whether everything works; writes nothing in docs")
    parser.add_argument("--only", default="", help="parts, with commas between; a run replaces their figures alone")
    options = parser.parse_args()
    size = Size.TINY if options.tiny else Size.FULL if options.full else Size.USUAL
    docs = cache_folder() / "tiny" if size is Size.TINY else REPOSITORY / "docs"
    names = [name for name in options.only.replace(" ", ",").split(",") if name]
    if options.what == "list":
        for part, arguments in chosen(names, size):
            print(f"{part.name:20}  {part.title}: python -m {part.module} {arguments}")
        return 0
    failed: list[str] = []
    if options.what == "run":
        failed = measure(chosen(names, size), docs)
    render(docs)
    return report(load(docs / "benchmarks.jsonl"), failed)


def measure(parts: list[tuple[Part, str]], docs: Path) -> list[str]:
    """Measures the parts and keeps each as soon as it is measured; what went wrong."""
    failed = []
    began = time.monotonic()
    for number, (part, arguments) in enumerate(parts, 1):
        what, started = f"{number} of {len(parts)}: {part.title}", time.monotonic()
        if is_watched(sys.stderr):
            say(f"{what}, after {started - began:.0f} s")
        try:
            found = run(part, arguments)
        except Unmeasured as error:
            failed.append(f"{part.name}: {error}; its older figures are kept")
            say(f"{what}: not measured ({time.monotonic() - started:.0f} s)")
            continue
        keep(docs, found)
        say(f"{what}: measured ({found.seconds:.0f} s)")
    say(f"{len(parts) - len(failed)} of {len(parts)} measured ({time.monotonic() - began:.0f} s)")
    return failed


def keep(docs: Path, found: Run) -> None:
    file = docs / "benchmarks.jsonl"
    save(file, merged(load(file), [found], [part.name for part in PARTS]))


def render(docs: Path) -> None:
    runs = load(docs / "benchmarks.jsonl")
    plots = draw(runs, docs / "img" / "bench")
    (docs / "benchmarks.md").write_text(page(runs, read_reasons(), plots), encoding="utf-8")


def report(runs: dict[str, Run], failed: list[str]) -> int:
    """Prints the table and what is to be looked at; the exit status."""
    print(table(runs))
    unexplained = 0
    for part, figure, reason in missed(runs, read_reasons()):
        unexplained += not reason
        where = part if part == OTHERS else f"part {part}"
        print(f"Missed ({where}): {figure.name}. {reason or 'No reason stands in bench/reasons.toml.'}")
    for line in failed:
        print(f"Not measured: {line}")
    return 1 if failed or unexplained else 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(ended(main))
