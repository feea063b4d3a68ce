"""The alerts and the Grafana dashboard against promtool, the shim's own metrics and the runbook."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from api.metrics import sample_names
from sandbox.debian import program
from sandbox.errors import SandboxError

RULES = Path("k8s/monitoring/prometheusrule.yaml")
DASHBOARD = Path("k8s/monitoring/dashboard.json")
RUNBOOK = Path("docs/runbook.md")
ALERTS_HEADING, NEXT_HEADING = "## Alerts", "## "
SEVERITIES = ("critical", "warning", "info")
# Of Prometheus itself, not of the shim.
_OTHERS = frozenset({"up", "ALERTS"})

# What Grafana puts in before it asks: intervals, and every value of a variable.
_GRAFANA = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m"}
_VARIABLE = re.compile(r"\$\{?[a-z_]+\}?")

_NOT_NAMES = re.compile(
    r'"(?:[^"\\]|\\.)*"'  # strings
    r"|\[[^\]]*\]"  # ranges
    r"|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"  # lists of labels
    r"|\{[^}]*\}"  # matchers
)
_NAME = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\w|\s*\()")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Alert:
    """An alerting rule; what is absent is empty."""

    name: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


def spec(root: Path) -> dict[str, Any]:
    """The `spec` of the PrometheusRule: what Prometheus calls a rule file."""
    found: dict[str, Any] = yaml.safe_load((root / RULES).read_text(encoding="utf-8"))["spec"]
    return found


def alerts(root: Path) -> list[Alert]:
    """Every alert there is, in order."""
    rules = [rule for group in spec(root)["groups"] for rule in group["rules"] if "alert" in rule]
    return [
        Alert(rule["alert"], str(rule.get("expr", "")), rule.get("labels") or {}, rule.get("annotations") or {})
        for rule in rules
    ]


def dashboard_expressions(root: Path) -> list[tuple[str, str]]:
    """Each expression on the dashboard after its panel's title, with Grafana's variables put in."""
    dashboard = json.loads((root / DASHBOARD).read_text(encoding="utf-8"))
    found = [
        (panel.get("title", "a panel without a title"), target["expr"])
        for panel in _flat(dashboard["panels"])
        for target in panel.get("targets", [])
    ]
    found += [(f"annotation {one['name']}", one["expr"]) for one in dashboard["annotations"]["list"]]
    return [(title, _put_in(expression)) for title, expression in found]


def metric_names(expression: str) -> set[str]:
    """The series that an expression asks for."""
    left = _NOT_NAMES.sub(" ", expression)
    return {name for name in _NAME.findall(left) if name.lower() not in _WORDS}


def headings(root: Path) -> dict[str, list[str]]:
    """The anchors of the runbook: `alerts`, those of its sections about alerts, and `all`."""
    text = (root / RUNBOOK).read_text(encoding="utf-8")
    _, _, after = text.partition(f"\n{ALERTS_HEADING}\n")
    section = re.split(rf"^{NEXT_HEADING}", after, maxsplit=1, flags=re.MULTILINE)[0]
    return {"alerts": _HEADING.findall(section), "all": [_anchor(heading) for heading in _HEADING.findall(text)]}


def mistakes(root: Path) -> list[str]:
    """What is wrong with alerts, dashboard and runbook, a line each; empty where nothing is."""
    try:
        spec(root), dashboard_expressions(root), headings(root)
    except yaml.YAMLError as error:
        return [f"{RULES}: is no YAML: {' '.join(str(error).split())}"]
    except json.JSONDecodeError as error:
        return [f"{DASHBOARD}: is no JSON: {error}"]
    except OSError as error:
        return [f"{error.filename}: {error.strerror}"]
    return [
        *_of_promtool(root),
        *_of_alerts(root),
        *_of_runbook(root),
        *_of_names(root),
    ]


def _of_promtool(root: Path) -> Iterator[str]:
    try:
        promtool = program("promtool", "prometheus")
    except SandboxError as error:
        yield f"{RULES}: {error}"
        return
    # Expressions of the dashboard are checked as what they might be: recorded.
    recorded = {
        "groups": [
            {
                "name": "dashboard",
                "rules": [
                    {"record": f"panel_{number}", "expr": expr}
                    for number, (_, expr) in enumerate(dashboard_expressions(root))
                ],
            }
        ]
    }
    for path, rules in ((RULES, spec(root)), (DASHBOARD, recorded)):
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            yaml.safe_dump(rules, file)
            file.flush()
            done = subprocess.run(
                [promtool, "check", "rules", "--lint-fatal", file.name], capture_output=True, text=True, check=False
            )
            if done.returncode:
                said = [line.strip().replace(f"{file.name}: ", "") for line in done.stderr.splitlines()]
                yield from (f"{path}: promtool: {line}" for line in said if line and line != "FAILED:")


def _of_alerts(root: Path) -> Iterator[str]:
    anchors = headings(root)["all"]
    for alert in alerts(root):
        if alert.labels.get("severity") not in SEVERITIES:
            yield f"{RULES}: {alert.name} has no severity: it is one of {', '.join(SEVERITIES)}"
        for annotation in ("summary", "description", "runbook_url"):
            if not alert.annotations.get(annotation):
                yield f"{RULES}: {alert.name} has no {annotation}"
        page, _, anchor = alert.annotations.get("runbook_url", "").partition("#")
        if not page.startswith("https://") or not page.endswith(f"/{RUNBOOK}"):
            yield f"{RULES}: {alert.name}: runbook_url is to be https://.../{RUNBOOK}#{alert.name.lower()}"
        elif anchor not in anchors:
            yield f"{RULES}: {alert.name}: {RUNBOOK} has no section #{anchor}"
        elif anchor != alert.name.lower():
            yield f"{RULES}: {alert.name}: runbook_url leads to #{anchor} and not to #{alert.name.lower()}"


def _of_runbook(root: Path) -> Iterator[str]:
    names = [alert.name for alert in alerts(root)]
    for heading in headings(root)["alerts"]:
        if heading not in names:
            yield f"{RUNBOOK}: there is no alert {heading}: its section belongs under another heading, or is to go"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{RULES}: there are two alerts {name}"


def _of_names(root: Path) -> Iterator[str]:
    known = sample_names() | _OTHERS
    asked = [(RULES, alert.name, alert.expr) for alert in alerts(root)]
    asked += [(DASHBOARD, title, expr) for title, expr in dashboard_expressions(root)]
    for path, whose, expr in asked:
        for name in sorted(metric_names(expr) - known):
            yield f"{path}: {whose}: nobody exports {name} (api/metrics.py says what there is)"


def _flat(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Panels, also those inside of rows that are folded."""
    for panel in panels:
        yield panel
        yield from _flat(panel.get("panels", []))


def _put_in(expression: str) -> str:
    for variable, value in _GRAFANA.items():
        expression = expression.replace(variable, value)
    return _VARIABLE.sub(".*", expression)


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
