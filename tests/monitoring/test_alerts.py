"""Every alert by promtool, firing and silent, from the one file that has the rules."""

from __future__ import annotations

import copy
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks import rules
from sandbox.debian import program
from tests.test_layering import ROOT

FILES = sorted(Path(__file__).parent.glob("*.yml"))


def without_annotations(spec: dict[str, Any]) -> dict[str, Any]:
    """The same rules, of which promtool would otherwise want every sentence a second time."""
    bare = copy.deepcopy(spec)
    for group in bare["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    return bare


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_alerts_fire_and_are_silent(file: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(without_annotations(rules.spec(ROOT))))
    (tmp_path / file.name).write_text(file.read_text())
    done = subprocess.run(
        [program("promtool", "prometheus"), "test", "rules", file.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_firing_and_silent() -> None:
    tested: defaultdict[str, set[str]] = defaultdict(set)
    for file in FILES:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                tested[case["alertname"]].add("firing" if case.get("exp_alerts") else "silent")
    wanted = {alert.name: {"firing", "silent"} for alert in rules.alerts(ROOT)}
    assert tested == wanted
