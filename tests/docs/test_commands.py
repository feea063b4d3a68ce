"""Every command of the README and of docs/ is tried: here what needs no stack, and that nothing is left out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from api.metrics import sample_names
from checks import rules
from sandbox.debian import program
from sandbox.state import REPOSITORY
from tests.docs.classes import ELSEWHERES, EXEMPTIONS, PAGES_ELSEWHERE, Elsewhere, classes_of
from tests.docs.commands import PROGRAMS, PROMQL, SHELL, Command, commands, pages
from tests.docs.markdown import codes

EVERY = [command for page in pages() for command in commands(page)]
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
# With their flags, also where a pod is to run them.
MODULES = sorted(
    {
        (found[1], *re.findall(r"(?<= )--[a-z][a-z-]+", found[2]))
        for command in EVERY
        if command.kind == SHELL and command.page not in PAGES_ELSEWHERE
        for found in re.finditer(r"python3? -m ([\w.]+)([^|;&#`]*)", command.text)
    }
)


_CALL = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/[\w/{}<>-]*)(?:\?.*)?")


def text_of(command: Command) -> str:
    return command.text.partition("  # ")[0]


def bare(path: str) -> str:
    """The path without the names of its parameters."""
    return re.sub(r"\{\w+\}|<\w+>", "*", path)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_each_command_is_tried_in_exactly_one_way(page: Path) -> None:
    wrong = [f"{command}: {classes_of(command) or 'in no class'}" for command in commands(page)]
    assert [line for line in wrong if not re.search(r": \['\w+'\]$", line)] == []


@pytest.mark.parametrize("entry", ELSEWHERES, ids=lambda entry: entry.form)
def test_what_is_run_elsewhere_is_run_there(entry: Elsewhere) -> None:
    assert entry.words in (REPOSITORY / entry.file).read_text(encoding="utf-8")


@pytest.mark.parametrize("form", [*EXEMPTIONS, *(entry.form for entry in ELSEWHERES)])
def test_no_entry_is_left_of_a_command_that_is_gone(form: str) -> None:
    assert any(re.fullmatch(form, text_of(command).rstrip()) for command in EVERY)


@pytest.mark.parametrize(("page", "test"), PAGES_ELSEWHERE.items())
def test_a_page_with_a_test_of_its_own_has_it(page: str, test: str) -> None:
    if (REPOSITORY / page).exists():
        assert Path(page).name in (REPOSITORY / test).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command", [one for one in EVERY if re.search(r"\bmake [a-z]", one.text) and one.kind == SHELL], ids=str
)
def test_a_target_of_make_exists_with_its_variables(command: Command) -> None:
    words = text_of(command).split()
    target = words[words.index("make") + 1]
    assert re.search(rf"^\.PHONY: {target}$", MAKEFILE, re.MULTILINE)
    for variable in re.findall(r"\b([A-Z_]+)=", text_of(command)):
        assert re.search(rf"\b{variable}\b", MAKEFILE), variable


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_calls_that_a_page_names_are_of_the_api(page: Path) -> None:
    described = json.loads((REPOSITORY / "dashboard/openapi.json").read_text(encoding="utf-8"))["paths"]
    known = {(method.upper(), bare(path)) for path, operations in described.items() for method in operations}
    named = [_CALL.fullmatch(code.text) for code in codes(page.read_text(encoding="utf-8")) if code.inline]
    assert {call[0] for call in named if call and (call[1], bare(call[2])) not in known} == set()


@pytest.mark.parametrize("module", MODULES, ids=" ".join)
def test_a_module_exists_and_takes_its_flags(module: tuple[str, ...]) -> None:
    name, *flags = module
    if not flags:
        found = find_spec(name)
        if found is not None and found.submodule_search_locations is not None:
            found = find_spec(f"{name}.__main__")
        assert found is not None
        return
    done = subprocess.run(
        [sys.executable, "-m", name, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [flag for flag in flags if flag not in done.stdout] == []


def test_expressions_for_prometheus_are_right_and_ask_for_what_there_is(tmp_path: Path) -> None:
    asked = [command for command in EVERY if command.kind == PROMQL]
    assert len(asked) > 3
    recorded = [{"record": f"docs_{number}", "expr": one.text} for number, one in enumerate(asked)]
    (tmp_path / "docs.yml").write_text(yaml.safe_dump({"groups": [{"name": "docs", "rules": recorded}]}))
    words = [program("promtool", "prometheus"), "check", "rules", "--lint-fatal", str(tmp_path / "docs.yml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    unknown = {str(one): rules.metric_names(one.text) - sample_names() for one in asked}
    assert {where: names for where, names in unknown.items() if names} == {}


@pytest.mark.parametrize(
    "command",
    [one for one in EVERY if one.kind in PROGRAMS and one.page not in PAGES_ELSEWHERE],
    ids=lambda one: one.text[:40],
)
def test_a_whole_program_is_named_and_called(command: Command) -> None:
    name = re.match(r"(?://|#) (\w+\.(?:mjs|py))\b", command.text)
    assert name is not None, "its first line is a comment with its file's name"
    assert any(name[1] in one.text for one in EVERY if one.page == command.page and one.kind == SHELL)
