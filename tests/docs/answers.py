"""The answers that the docs show: a block of JSON or HTTP behind a block of commands is what its last command gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docs.commands import SHELL, kind_of
from tests.docs.markdown import Code, codes

_ERROR = 400
_SHORTENED = re.compile(r",?\s*(?:…|\.\.\.)(?=\s*[\]}])")


@dataclass(frozen=True)
class Answer:
    """An answer as it is shown, shortened."""

    line: int
    language: str
    text: str

    @property
    def status(self) -> int:
        """The HTTP status that it says."""
        found = re.match(r"HTTP/1\.1 (\d+)", self.text) if self.language == "http" else None
        if found:
            return int(found[1])
        body = self.body
        return int(body["status"]) if isinstance(body, dict) and "code" in body else 200

    @property
    def body(self) -> Any:
        """Its JSON; None where it is none."""
        text = self.text if self.language == "json" else self.text.partition("\n\n")[2]
        return json.loads(_SHORTENED.sub("", text)) if text.strip() else None

    def differences(self, said: str) -> Iterator[str]:
        """What of it is not so in what was really said."""
        head, _, body = said.replace("\r\n", "\n").rpartition("\n\n") if self.language == "http" else ("", "", said)
        if self.language == "http":
            names = {line.partition(":")[0].lower() for line in head.splitlines()[1:]}
            shown = self.text.partition("\n\n")[0].splitlines()[1:]
            yield from (f"no header {line}" for line in shown if line.partition(":")[0].lower() not in names)
            if f" {self.status}" not in head.partition("\n")[0]:
                yield f"{head.partition(chr(10))[0]} is not {self.status}"
        if self.body is not None:
            told = json.loads(body)
            yield from missing(self.body, told)
            for name in ("status", "code") if self.status >= _ERROR else ():
                if self.body.get(name) != told.get(name):
                    yield f"{name} is {told.get(name)}, and not {self.body.get(name)}"


def answers(page: Path) -> dict[int, Answer]:
    """The answers of a page, by the line on which the block of commands before each begins."""
    found, before = {}, None
    for code in codes(page.read_text(encoding="utf-8")):
        if code.inline:
            continue
        if before is not None and code.language in ("json", "http"):
            found[before.line] = Answer(code.line, code.language, code.text)
        before = _commands(code)
    return found


def _commands(code: Code) -> Code | None:
    return code if kind_of(code) == SHELL else None


def missing(shown: Any, said: Any, path: str = "$") -> Iterator[str]:
    """Where the shown JSON has a name, or a type of value, that the said one has not."""
    if isinstance(shown, dict):
        if not isinstance(said, dict):
            yield f"{path} is no object"
            return
        for name, value in shown.items():
            if name not in said:
                yield f"{path}.{name} is not there"
            else:
                yield from missing(value, said[name], f"{path}.{name}")
    elif isinstance(shown, list):
        if not isinstance(said, list):
            yield f"{path} is no list"
        elif shown and said:
            yield from missing(shown[0], said[0], f"{path}[0]")
    elif shown is not None and said is not None and type(shown) is not type(said) and not _numbers(shown, said):
        yield f"{path} is {said!r}, and not like {shown!r}"


def _numbers(one: Any, other: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
