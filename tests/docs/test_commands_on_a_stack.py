"""The docs' commands, as they stand, at a whole stack; those of a cluster's operator around stand-ins of theirs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from sandbox.state import REPOSITORY
from tests.docs import kubectl, operators
from tests.docs.answers import Answer, answers
from tests.docs.classes import CLUSTER, RUN, classes_of
from tests.docs.commands import PROGRAMS, SHELL, SQL, Command, commands, pages
from tests.docs.ground import Ground
from tests.docs.shell import Ran

Unit = tuple[Command, ...]
_NAME = re.compile(r"(?://|#) (\w+\.(?:mjs|py))\b")


def units() -> list[Unit]:
    """What is run in one shell: the commands of a block, or a single one of the text, each text once."""
    found: dict[tuple[str, object], Unit] = {}
    for page in pages():
        for command in commands(page):
            if command.kind == SHELL and classes_of(command)[:1] in ([RUN], [CLUSTER]):
                text = command.text.removeprefix(".venv/bin/")
                key = (command.page, command.block) if command.block else ("", text)
                found[key] = (*found.get(key, ()), command)[: None if command.block else 1]
    return list(found.values())


def statements() -> list[Command]:
    """Every statement, once."""
    every = {one.text: one for page in reversed(pages()) for one in commands(page) if one.kind == SQL}
    return list(every.values())


def place(command: Command) -> str:
    return f"{Path(command.page).name}:{command.line}"


@pytest.fixture
async def tidy(ground: Ground) -> AsyncIterator[Ground]:
    """The stack as it was, whatever a command has done to it."""
    yield ground
    await ground.put_back()


def write_programs(ground: Ground, page: str) -> None:
    for command in commands(REPOSITORY / page):
        if command.kind in PROGRAMS and (name := _NAME.match(command.text)):
            (ground.shell.folder / name[1]).write_text(ground.shell.here(command.text), encoding="utf-8")


@pytest.mark.parametrize("unit", units(), ids=lambda unit: place(unit[0]))
async def test_a_command_does_what_the_page_says(tidy: Ground, unit: Unit) -> None:
    write_programs(tidy, unit[0].page)
    job_id = await tidy.job_for(unit)
    shown = answers(REPOSITORY / unit[0].page).get(unit[0].block)
    ran = await tidy.shell.run(unit, JOB_ID=job_id)
    wrong = [problem for one in ran[:-1] for problem in problems(one)] + problems(ran[-1], shown)
    assert wrong == []


def problems(ran: Ran, shown: Answer | None = None) -> list[str]:
    """What is wrong with what came of a command, each with where the command stands."""
    in_cluster = classes_of(ran.command) == [CLUSTER]
    found = [problem for call in ran.calls for problem in _of_call(call)]
    if in_cluster and not ran.calls:
        found.append("no program of the cluster was called")
    # A search in what a cluster would say finds nothing where there is no cluster.
    good = {0, 1} if in_cluster and re.search(r"\| grep ", ran.command.text) else {0}
    if shown is not None and shown.status >= 400:
        good = {22}  # what curl ends with
    if ran.status not in good or "not found" in ran.complained:
        found.append(f"ended with {ran.status}: {ran.said[-1500:]} {ran.complained[-1500:]}")
    elif shown is not None:
        found += shown.differences(ran.said)
    return [f"{ran.command}: {problem}" for problem in found]


def _of_call(call: dict[str, list[str]]) -> list[str]:
    name, words = str(call["program"]), call["words"]
    return list(kubectl.problems(words, call["keys"]) if name == "kubectl" else operators.problems(name, words))


@pytest.mark.parametrize("statement", statements(), ids=place)
async def test_a_statement_runs(ground: Ground, statement: Command) -> None:
    connection = await asyncpg.connect(ground.stack.wiring.database_url)
    # psql's variables are put in as psql would; no process has the number 0.
    text = re.sub(r":'\w+'", "'crawl_pending'", statement.text).replace("<pid>", "0")
    try:
        if "concurrently" in text:  # not inside of a transaction
            await connection.execute(text)
            return
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetch(text)
        await transaction.rollback()
    finally:
        await connection.close()
        await ground.drop_indexes()
