"""A document whose code blocks are to be followed: the info string of each says what it is for.

```python flows/x.py                            a new file
```python flows/x.py after: a piece of a line   goes behind the one line that has the piece
```python flows/x.py in place of: a piece       replaces the one line that has it
```yaml prefect.yaml at the end                 goes to the end of the file
```sh, ```text, ```json with other words        for whoever follows: a command, and what is to be seen
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.test_adding_a_job_type import insert

_BLOCK = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FOR_THE_READER = {"sh", "text", "json"}


@dataclass(frozen=True)
class Block:
    language: str
    purpose: str
    text: str

    @property
    def is_of_a_file(self) -> bool:
        return self.language not in _FOR_THE_READER

    def write(self, folder: Path) -> None:
        """Puts the block where it belongs."""
        name, _, place = self.purpose.partition(" ")
        path = folder / name
        how, _, piece = place.partition(": ")
        if not how:
            assert not path.exists(), f"{name} is there already"
            path.write_text(self.text, encoding="utf-8")
        elif how == "at the end":
            path.write_text(path.read_text(encoding="utf-8") + self.text, encoding="utf-8")
        else:
            _wait_a_second(path)
            line = _only_line(path, piece)
            insert(path, self.text.rstrip("\n"), after=f"^{re.escape(line)}$")
            if how == "in place of":
                path.write_text(path.read_text(encoding="utf-8").replace(f"{line}\n", "", 1), encoding="utf-8")
            else:
                assert how == "after", f"nobody knows what {self.purpose!r} means"


def _wait_a_second(path: Path) -> None:
    """As whoever types does: Python takes a file of the same size and second for the one it has compiled."""
    while int(time.time()) == int(path.stat().st_mtime):
        time.sleep(0.05)


def _only_line(path: Path, piece: str) -> str:
    (line,) = [line for line in path.read_text(encoding="utf-8").splitlines() if piece in line]
    return line


def blocks(document: Path) -> Iterator[Block]:
    """The document's blocks, in their order."""
    for language, purpose, text in _BLOCK.findall(document.read_text(encoding="utf-8")):
        yield Block(language, purpose, text)
