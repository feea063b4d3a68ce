"""docs/adding-a-job-type.md, followed from its first block to its last: it works, and shows what is to be seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from flows.core.domain import JobType
from tests.docs.document import Block, blocks
from tests.docs.reader import Answer, Reader
from tests.test_adding_a_job_type import ROOT

DOCUMENT = ROOT / "docs" / "adding-a-job-type.md"
TYPE = "find_thin_topics"
# Whoever has followed the document has the example in the repository, and runs these tests with the others.
pytestmark = pytest.mark.skipif(TYPE in set(JobType), reason="the example is in the repository already")

_TOOK = re.compile(r"\(\d+\.\d s\)")
# What an answer has in it once it is what the document waits for.
_COMPLETE = {"log": " completed: ", "registered": '"fewest":8'}


class Followed:
    """What was shown and what came of it, by the blocks' purposes."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.outputs: list[str] = []
        self.promised: list[tuple[str, str]] = []
        """What a command was to write, and what it wrote."""
        self.shown: dict[str, str] = {}
        self.jobs: dict[str, Answer] = {}
        self.answers: dict[str, Answer] = {}
        self._calls: dict[str, Block] = {}

    def follow(self, block: Block) -> None:
        if block.is_of_a_file:
            block.write(self.reader.folder)
        elif block.language == "sh":
            self._command(block)
        elif not block.purpose:
            self.promised.append((block.text, self.outputs[-1]))
        else:
            self.shown[block.purpose] = block.text
            if block.purpose in {"one error", "another detail"}:
                self.jobs[block.purpose] = self._job("trigger")

    def _command(self, block: Block) -> None:
        if block.purpose == "in a second terminal":
            self.reader.start(block.text)
        elif block.purpose in {"", "fails"}:
            status, output = self.reader.run(block.text)
            assert (status != 0) is (block.purpose == "fails"), f"{block.text}{output}"
            self.outputs.append(output)
        elif block.purpose != "by hand":
            self._calls[block.purpose] = block
            self._call(block.purpose)

    def _call(self, purpose: str) -> None:
        if purpose == "follow":
            self.jobs["result"] = self._job("trigger")
        elif purpose == "trigger without parameters":
            self.jobs[purpose] = self._job(purpose)
        elif purpose != "trigger":
            self.answers[purpose] = self.reader.asked(self._calls[purpose], _COMPLETE.get(purpose, ""))

    def _job(self, trigger: str) -> Answer:
        return self.reader.triggered(self._calls[trigger], self._calls["follow"])

    def expected(self, purpose: str) -> Any:
        return json.loads(self.shown[purpose])


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    reader = Reader(tmp_path_factory.mktemp("followed"))
    followed = Followed(reader)
    try:
        for block in blocks(DOCUMENT):
            followed.follow(block)
        yield followed
    finally:
        reader.stop()


def test_every_output_is_the_one_that_is_shown(followed: Followed) -> None:
    assert len(followed.promised) >= 2
    for shown, written in followed.promised:
        # How long it took is another time each time.
        assert _TOOK.sub("(n s)", written) == _TOOK.sub("(n s)", shown)


def test_its_tests_pass_and_are_as_many_as_it_says(followed: Followed) -> None:
    (said,) = re.findall(r"`(\d+ passed)`", DOCUMENT.read_text(encoding="utf-8"))
    assert [output for output in followed.outputs if re.search(rf"^=* ?{said} in ", output, re.MULTILINE)]


def test_the_job_completes_with_the_result_that_is_shown(followed: Followed) -> None:
    job = followed.jobs["result"]
    assert (job["status"], job["jobType"]) == ("completed", TYPE)
    assert job["result"] == followed.expected("result")


def test_its_log_says_what_is_shown(followed: Followed) -> None:
    said = [line["message"] for line in followed.answers["log"]["logs"]]
    shown = followed.shown["said"].splitlines()
    assert [line for line in shown if not any(line in message for message in said)] == []


def test_a_wrong_parameter_is_refused_as_is_shown(followed: Followed) -> None:
    assert followed.expected("refusal").items() <= followed.answers["refused"].items()


def test_one_item_that_fails_is_one_error_of_a_completed_job(followed: Followed) -> None:
    job, (shown,) = followed.jobs["one error"], followed.expected("one error")
    assert (job["status"], job["result"]["itemsProcessed"]) == ("completed", 6)
    (error,) = job["result"]["errors"]
    assert re.sub(r"^topic \w+:", "topic art:", error) == shown


def test_a_change_of_the_body_is_seen_by_the_next_run(followed: Followed) -> None:
    assert followed.expected("another detail").items() <= followed.jobs["another detail"]["result"]["details"].items()


def test_a_change_of_a_default_is_seen_once_it_is_registered(followed: Followed) -> None:
    job = followed.jobs["trigger without parameters"]
    assert (job["status"], job["parameters"]) == ("completed", followed.expected("another default"))
