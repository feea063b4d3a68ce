"""docs/operations.md lists every setting there is, with the default that it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from api.settings import ShimSettings
from flows.core.settings import Settings as FlowSettings
from sandbox.state import REPOSITORY
from worker.settings import Settings as WorkerSettings

TABLES: dict[str, dict[str, FieldInfo]] = {
    "Of the shim and of whatever runs flows": FlowSettings.model_fields,
    "Of the shim alone": {n: f for n, f in ShimSettings.model_fields.items() if n not in FlowSettings.model_fields},
    "Of the sandbox's worker": WorkerSettings.model_fields,
}
PREFIXES: dict[str, type[BaseSettings]] = {"Of the sandbox's worker": WorkerSettings}
_ROW = re.compile(r"^\| `(?P<name>[A-Z_]+)` \| (?P<default>[^|]+) \| (?P<meaning>[^|]+) \|$", re.MULTILINE)


def documented(heading: str) -> list[tuple[str, str]]:
    """Name and default of each row under a heading; a row without a meaning is none."""
    text = (REPOSITORY / "docs/operations.md").read_text()
    section = text.split(f"### {heading}\n", 1)[1].split("\n##", 1)[0]
    return [(row["name"], row["default"]) for row in _ROW.finditer(section)]


def spelt(field: FieldInfo) -> str:
    """A default as the table writes it."""
    if field.is_required():
        return "required"
    default: Any = field.default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default is None or default in ("", ()):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, Path):
        return f"`{default.relative_to(REPOSITORY)}`"
    return f"`{default:g}`" if isinstance(default, int | float) else f"`{default}`"


@pytest.mark.parametrize("heading", TABLES)
def test_every_setting_is_documented_with_its_default(heading: str) -> None:
    prefix = PREFIXES[heading].model_config.get("env_prefix", "") if heading in PREFIXES else ""
    wanted = [(f"{prefix}{name}".upper(), spelt(field)) for name, field in TABLES[heading].items()]
    assert documented(heading) == wanted


def test_every_variable_that_the_text_names_exists() -> None:
    text = (REPOSITORY / "docs/operations.md").read_text()
    known = {name for heading in TABLES for name, _ in documented(heading)}
    sources = [
        path.read_text()
        for folder in ("api", "deployments", "k8s", ".github")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".yml"}
    ] + [(REPOSITORY / "Dockerfile").read_text()]
    named = set(re.findall(r"`([A-Z][A-Z_]*_[A-Z]+)`", text)) - known
    assert [name for name in sorted(named) if not any(name in source for source in sources)] == []
