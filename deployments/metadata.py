"""`python -m deployments.metadata pyproject.toml <folder>`: the project's metadata, where it is not installed.

Prefect finds worker types by the entry points of what is installed; a folder on the path that holds metadata counts.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def write(pyproject: Path, folder: Path) -> Path:
    """The folder of metadata that was made: name, version and entry points, as pyproject.toml has them."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    made = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    groups = (
        f"[{group}]\n" + "".join(f"{point} = {target}\n" for point, target in points.items())
        for group, points in project["entry-points"].items()
    )
    (made / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    return made


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
