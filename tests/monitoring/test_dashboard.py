"""The Grafana dashboard as a file: what Grafana would draw wrong without a word."""

from __future__ import annotations

import json
import subprocess
from itertools import combinations
from typing import Any

import pytest
import yaml

from checks import rules
from sandbox.debian import program
from tests.test_layering import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / rules.DASHBOARD).read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    at = panel["gridPos"]
    return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}


def test_panels_lie_beside_one_another() -> None:
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)
    overlapping = [(a["title"], b["title"]) for a, b in combinations(PANELS, 2) if cells(a) & cells(b)]
    assert overlapping == []
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize(
    "panel", [panel for panel in PANELS if panel["type"] != "row"], ids=lambda panel: panel["title"]
)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".") or "Alert" in panel["description"]
    assert {target["datasource"]["uid"] for target in panel.get("targets", [])} <= {"${datasource}"}


def test_every_alert_that_a_panel_names_exists() -> None:
    names = {alert.name for alert in rules.alerts(ROOT)}
    named = {word.strip(".,:;()") for panel in PANELS for word in panel.get("description", "").split()}
    assert {word for word in named if word.startswith("Scheduler")} <= names


def test_kustomize_makes_it_a_config_map_for_grafana() -> None:
    done = subprocess.run(
        [program("kubectl", "kubernetes-client"), "kustomize", str(ROOT / "k8s/monitoring")],
        capture_output=True,
        text=True,
        check=True,
    )
    made = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert set(made) == {"ConfigMap", "PrometheusRule", "ServiceMonitor"}
    assert {one["metadata"]["namespace"] for one in made.values()} == {"stumbleable"}
    assert made["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["ConfigMap"]["data"]["scheduler.json"]) == DASHBOARD
    assert made["PrometheusRule"]["spec"] == rules.spec(ROOT)
