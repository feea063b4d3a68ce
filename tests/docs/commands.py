"""Every command of the README and of docs/: shell, SQL, PromQL, and the whole programs among the examples.

In a block each command is one; a line that goes on with a backslash, inside of quotes or in a here-document belongs to
the one above. In text, code is a command where it begins as one and has something behind the program's name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.state import REPOSITORY
from tests.docs.markdown import Code, codes

SHELL, SQL, PROMQL = "shell", "sql", "promql"
PROGRAMS = ("javascript", "python")
_LANGUAGES = {
    **dict.fromkeys(("sh", "bash", "console", "shell"), SHELL),
    **dict.fromkeys(("js", "javascript", "mjs"), "javascript"),
    **dict.fromkeys(("py", "python"), "python"),
    "sql": SQL,
    "promql": PROMQL,
}
_PROGRAM_NAMES = (
    *("make", "kubectl", "k", "curl", "python", "python3", ".venv/bin/python", "prefect", "psql", "pg_dump"),
    *("pg_restore", "docker", "podman", "kind", "git", "npm", "node", "helm", "az", "uv", r"\.venv/bin/\w+"),
)
_IS_SHELL = re.compile(rf"(?:[A-Z_]+=\S+ +)*(?:{'|'.join(_PROGRAM_NAMES)}) +(?!-m$)\S")
_IS_SQL = re.compile(
    r"(?:select|insert into|update|delete from|create (?:unique )?index|truncate|drop|alter) +\S", re.IGNORECASE
)
_IS_PROMQL = re.compile(r"(?:(?:max|min|sum|avg|count)(?: by)?|histogram_quantile|rate|increase) *\(|up\b.*[{=]")
_STATEMENT = re.compile(r"(?:--[^\n]*|[^;']|'[^']*')+")
_BEFORE_STATEMENT = re.compile(r"(?:\s|--[^\n]*)*")
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


@dataclass(frozen=True)
class Command:
    """A command, and where it stands."""

    page: str
    line: int
    kind: str
    text: str
    block: int = 0
    """The line on which the block begins that it stands in; 0 for one inside of text."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def pages(root: Path = REPOSITORY) -> list[Path]:
    """Every page that has commands for people."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def commands(page: Path, root: Path = REPOSITORY) -> list[Command]:
    """The commands of a page, in order."""
    name = str(page.relative_to(root))
    return [
        Command(name, line, kind, text, 0 if code.inline else code.line)
        for code in codes(page.read_text(encoding="utf-8"))
        if (kind := kind_of(code)) is not None
        for line, text in split(code, kind)
    ]


def kind_of(code: Code) -> str | None:
    """What the code is a command of; None where it is no command."""
    if code.language:
        return _LANGUAGES.get(code.language)
    for pattern, kind in ((_IS_SQL, SQL), (_IS_PROMQL, PROMQL)):
        if pattern.match(code.text):
            return kind
    if code.inline:
        return SHELL if _IS_SHELL.match(code.text) else None
    # A drawing or an example of text is no command; a block with a command in it is a block of commands.
    return SHELL if any(_IS_SHELL.match(line.removeprefix("$ ")) for line in code.text.split("\n")) else None


def split(code: Code, kind: str) -> Iterator[tuple[int, str]]:
    """The single commands of a piece of code, each with its line."""
    if kind == SHELL and not code.inline:
        yield from _shell(code)
    elif kind == SQL:
        yield from _statements(code)
    else:
        yield code.line, code.text.strip()


def _shell(code: Code) -> Iterator[tuple[int, str]]:
    begun: list[str] = []
    for number, line in enumerate(code.text.split("\n"), start=code.line):
        if not begun and (not line.strip() or line.lstrip().startswith("#")):
            continue
        begun.append(line.removeprefix("$ "))
        if _is_complete(begun):
            yield number + 1 - len(begun), "\n".join(begun)
            begun = []
    if begun:
        raise ValueError(f"line {code.line}: a command has no end: {begun[0]}")


def _is_complete(lines: list[str]) -> bool:
    here = _HERE.search(lines[0])
    if here is not None:
        return len(lines) > 1 and lines[-1].strip() == here[2]
    if lines[-1].endswith("\\"):
        return False
    try:
        shlex.split("\n".join(lines), comments=True)
    except ValueError:  # inside of quotes
        return False
    return True


def _statements(code: Code) -> Iterator[tuple[int, str]]:
    for found in _STATEMENT.finditer(code.text):
        before = _BEFORE_STATEMENT.match(found[0])
        begin = before.end() if before else 0
        if statement := found[0][begin:].strip():
            yield code.line + code.text.count("\n", 0, found.start() + begin), statement
