"""The code in a page of Markdown: fenced blocks, indented ones, and `code` inside of text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"( *)(`{3,}|~{3,})(\w*)")
_ITEM = re.compile(r"( *(?:[-*+]|\d+[.)]) +)")
_INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_CODE_INDENT = 4


@dataclass(frozen=True)
class Code:
    """A piece of code and the line on which it begins."""

    line: int
    text: str
    language: str = ""
    """What stands behind the fence; empty where nothing does."""
    inline: bool = False


def codes(text: str) -> Iterator[Code]:
    """Every piece of code, in order."""
    lines = text.split("\n")
    number, item = 0, 0
    while number < len(lines):
        line = lines[number]
        if not line.strip():
            number += 1
        elif fence := _FENCE.match(line):
            item = _content_of_item(line, item)
            end = _end_of_fence(lines, number, fence[2])
            yield Code(number + 2, _dedented(lines[number + 1 : end], len(fence[1])), fence[3])
            number = end + 1
        elif _is_indented(lines, number, item):
            end = _end_of_block(lines, number, item + _CODE_INDENT)
            yield Code(number + 1, _dedented(lines[number:end], item + _CODE_INDENT))
            number = end
        else:
            end = _end_of_text(lines, number)
            item = _content_of_item(line, item)
            yield from _inside("\n".join(lines[number:end]), number + 1)
            number = end


def _end_of_fence(lines: list[str], begin: int, fence: str) -> int:
    ends = (number for number in range(begin + 1, len(lines)) if lines[number].strip() == fence)
    return next(ends, len(lines))


def _is_indented(lines: list[str], number: int, item: int) -> bool:
    """Whether a block of code begins here: four columns further in than the text around it, after an empty line."""
    follows_blank = number == 0 or not lines[number - 1].strip()
    return follows_blank and bool(lines[number].strip()) and _indent(lines[number]) >= item + _CODE_INDENT


def _end_of_block(lines: list[str], begin: int, indent: int) -> int:
    last = begin
    for number in range(begin, len(lines)):
        if lines[number].strip():
            if _indent(lines[number]) < indent:
                break
            last = number
    return last + 1


def _end_of_text(lines: list[str], begin: int) -> int:
    """One row of a table, one item of a list, or a paragraph."""
    for number in range(begin + 1, len(lines)):
        line = lines[number]
        if not line.strip() or line.lstrip().startswith("|") or _ITEM.match(line) or _FENCE.match(line):
            return number
    return len(lines)


def _content_of_item(line: str, item: int) -> int:
    """How far in the text of the list item is that this line begins or belongs to; 0 outside of lists."""
    if begins := _ITEM.match(line):
        return len(begins[1])
    return item if not line.strip() or (item and _indent(line) >= item) else 0


def _inside(text: str, line: int) -> Iterator[Code]:
    for found in _INLINE.finditer(text):
        code = re.sub(r"\s*\n\s*", " ", found[2]).replace(r"\|", "|").strip()
        yield Code(line + text.count("\n", 0, found.start()), code, inline=True)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _dedented(lines: list[str], indent: int) -> str:
    return "\n".join(line[min(indent, _indent(line)) :] for line in lines)
