"""`python -m deployments check` finds each kind of mistake and names it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from deployments.check import mistakes
from flows.core.prefect_yaml import InvalidDeploymentsError, load, parse

Spoil = Callable[[dict[str, Any]], object]


def spoiled(spoil: Spoil) -> dict[str, Any]:
    content = copy.deepcopy(load())
    spoil(content)
    return content


def stanza(content: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = content["deployments"][0]
    return first


def variables(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = stanza(content)["work_pool"]["job_variables"]
    return found


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: stanza(c)["schedules"][0].update(cron="61 * * * *"), "schedule '61 * * * *'"),  # no such minute
        (lambda c: stanza(c)["schedules"][0].update(slug="mine"), "has slug 'mine'"),  # the shim would not know it
        (lambda c: stanza(c)["schedules"].append(stanza(c)["schedules"][0]), "has more than one schedule"),  # two
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
        (lambda c: variables(c).update(memory="1Gi"), "unknown job variables memory; valid are"),  # no template has it
        (lambda c: variables(c).pop("cpu_limit"), "job variable cpu_limit is missing"),  # a pod without a limit
        (lambda c: variables(c).update(memory_limit="512MB"), "'512MB' is no quantity"),  # not Kubernetes' unit
        (lambda c: variables(c).update(cpu_limit=1), "1 is no quantity"),  # the template's variable is text
        (lambda c: variables(c).update(cpu_limit="0"), "'0' is nothing"),  # Kubernetes would take it for no limit
        (lambda c: variables(c).update(cpu_request="2"), "cpu_request is more than cpu_limit"),  # never admitted
        (
            lambda c: variables(c).update(active_deadline_seconds=1800),
            "active_deadline_seconds is 1800; by its maximum run time of 0:30:00 it must be 2100",
        ),  # Kubernetes would end what may still run
        (
            lambda c: variables(c).update(env={"MAX_RUN_SECONDS": "60"}),
            "by its maximum run time of 0:01:00 it must be 360",
        ),  # another maximum, the same deadline
        (lambda c: c["deployments"].clear(), "crawl_pending: is a JobType without a deployment"),  # a forgotten stanza
        (lambda c: c["deployments"].append(stanza(c)), "has more than one deployment"),  # twice the same
    ],
)
def test_check_names_the_mistake(spoil: Spoil, message: str) -> None:
    assert message in "\n".join(mistakes(spoiled(spoil)))


def test_a_misspelt_key_is_a_mistake() -> None:
    with pytest.raises(InvalidDeploymentsError, match="crawl_pending: schedulez"):
        parse(spoiled(lambda c: stanza(c).update(schedulez=[])))
