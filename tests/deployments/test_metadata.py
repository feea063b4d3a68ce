"""An image that installs nothing of ours tells Prefect of our worker type all the same."""

from __future__ import annotations

from importlib.metadata import PathDistribution
from pathlib import Path

from deployments import metadata

ROOT = Path(__file__).resolve().parents[2]


def test_entry_points_are_those_of_pyproject(tmp_path: Path) -> None:
    told = PathDistribution(metadata.write(ROOT / "pyproject.toml", tmp_path))
    assert told.metadata["Name"] == "stumbleable-scheduler"
    points = {(point.group, point.name, point.value) for point in told.entry_points}
    assert ("prefect.collections", "stumbleable_worker", "worker.forkworker") in points
