"""`python -m deployments check` finds each kind of mistake and names it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from deployments.check import mistakes
from deployments.stanzas import InvalidDeploymentsError, load, parse

Spoil = Callable[[dict[str, Any]], object]


def spoiled(spoil: Spoil) -> dict[str, Any]:
    content = copy.deepcopy(load())
    spoil(content)
    return content


def stanza(content: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = content["deployments"][0]
    return first


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: stanza(c)["schedules"][0].update(cron="61 * * * *"), "schedule '61 * * * *'"),  # no such minute
        (lambda c: stanza(c)["schedules"][0].update(timezone="Mars/Olympus"), "Mars/Olympus"),  # no such zone
        (
            lambda c: stanza(c)["work_pool"].update(work_queue_name="urgent"),
            "'urgent' does not exist",
        ),  # new
        (
            lambda c: stanza(c).update(entrypoint="flows.crawl_pending.crawl"),
            "by its name it must be",
        ),  # another function
        (
            lambda c: stanza(c).update(entrypoint="flows/crawl_pending.py:crawl_pending"),
            "by its name it must be",
        ),  # a path
        (lambda c: stanza(c).update(parameters={"max_item": 5}), "unknown parameters max_item"),  # a misspelt name
        (lambda c: stanza(c).update(parameters={"max_items": 0}), "max_items"),  # out of bounds
        (lambda c: stanza(c).update(name="crawl"), "crawl: is a deployment without a JobType"),  # nobody's deployment
        (lambda c: c["deployments"].clear(), "crawl_pending: is a JobType without a deployment"),  # a forgotten stanza
        (lambda c: c["deployments"].append(stanza(c)), "has more than one deployment"),  # twice the same
    ],
)
def test_check_names_the_mistake(spoil: Spoil, message: str) -> None:
    assert message in "\n".join(mistakes(spoiled(spoil)))


def test_a_misspelt_key_is_a_mistake() -> None:
    with pytest.raises(InvalidDeploymentsError, match="crawl_pending: schedulez"):
        parse(spoiled(lambda c: stanza(c).update(schedulez=[])))
