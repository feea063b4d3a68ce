"""Mistakes planted into alerts, dashboard and runbook: each is found, and said in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from checks import rules
from checks.rules import DASHBOARD, RULES, RUNBOOK
from tests.test_layering import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path in (RULES, DASHBOARD, RUNBOOK):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


def plant(tree: Path, path: Path, right: str, wrong: str) -> list[str]:
    """What is found once the first `right` in a file is `wrong`."""
    text = (tree / path).read_text()
    assert right in text
    (tree / path).write_text(text.replace(right, wrong, 1))
    return rules.mistakes(tree)


def test_there_is_none() -> None:
    assert rules.mistakes(ROOT) == []


@pytest.mark.parametrize(
    ("path", "right", "wrong", "found"),
    [
        # PromQL that does not parse, in an alert and in a panel
        (RULES, "max by (namespace) (scheduler_prefect_up) == 0", "max by (namespace (scheduler_prefect_up) == 0",
         "k8s/monitoring/prometheusrule.yaml: promtool:"),
        (DASHBOARD, "sum(up{", "sum(up{{", "k8s/monitoring/dashboard.json: promtool:"),
        # files that do not parse
        (RULES, "spec:", "spec: [", "k8s/monitoring/prometheusrule.yaml: is no YAML: "),
        (DASHBOARD, '"title"', "title", "k8s/monitoring/dashboard.json: is no JSON: "),
        # a template that does not parse
        (RULES, "{{ $labels.instance }} could", "{{ $labels.instance } could",
         "k8s/monitoring/prometheusrule.yaml: promtool:"),
        # a series that nobody exports: the name was changed, or never right
        (RULES, "(scheduler_paused) == 1", "(scheduler_pause) == 1",
         "k8s/monitoring/prometheusrule.yaml: SchedulerPausedLong: nobody exports scheduler_pause "),
        (DASHBOARD, "scheduler_uptime_seconds{", "scheduler_uptime{",
         "k8s/monitoring/dashboard.json: Uptime: nobody exports scheduler_uptime "),
        # an alert whose section is missing, or another's
        (RUNBOOK, "### SchedulerWorkerGone", "### SchedulerWorkerLost",
         "SchedulerWorkerGone: docs/runbook.md has no section #schedulerworkergone"),
        (RUNBOOK, "### SchedulerWorkerGone", "### SchedulerWorkerLost",
         "docs/runbook.md: there is no alert SchedulerWorkerLost"),
        (RULES, "runbook.md#schedulerdown", "runbook.md#schedulerworkergone",
         "SchedulerDown: runbook_url leads to #schedulerworkergone and not to #schedulerdown"),
        (RULES, "runbook_url: https://", "runbook_url: http://", "SchedulerDown: runbook_url is to be https://"),
        # one that nobody can route, or understand
        (RULES, "severity: critical", "severity: urgent", "SchedulerDown has no severity: it is one of critical, "),
        (RULES, "summary: No replica", "title: No replica", "SchedulerDown has no summary"),
        (RULES, "alert: SchedulerReplicaDown", "alert: SchedulerDown", "there are two alerts SchedulerDown"),
    ],
)  # fmt: skip
def test_a_planted_mistake_is_named(tree: Path, path: Path, right: str, wrong: str, found: str) -> None:
    lines = plant(tree, path, right, wrong)
    assert [line for line in lines if found in line], lines
    assert not [line for line in lines if "\n" in line]


def test_a_missing_promtool_is_a_mistake(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = rules.mistakes(tree)
    assert "promtool is missing: install it (apt-get install prometheus)" in line


# What asks for a series, and what only looks like one.
@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (job, le) (rate(a_bucket{route!~"/x|y",le="b"}[5m]))', {"a_bucket"}),
        ("a:b / on (c) group_left (d) e offset 5m > bool 1", {"a:b", "e"}),
        ("max_over_time(a[1h:5m]) and b unless c == Inf or vector(1)", {"a", "b", "c"}),
        ('label_replace(a, "class", "${1}xx", "status", "(.)..")', {"a"}),
        ("time() - a > 2 * 1e3", {"a"}),
    ],
)
def test_names_are_read_out_of_an_expression(expression: str, names: set[str]) -> None:
    assert rules.metric_names(expression) == names
