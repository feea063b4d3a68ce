"""A copy of the manifests to plant mistakes in."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def copy_of_manifests(folder: Path) -> Path:
    """A root that has what the checks of manifests read."""
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    return folder


def plant(root: Path, file: str, old: str, new: str, *, count: int = 1) -> None:
    """Puts one text in the place of another, in a file that has it."""
    path = root / "k8s" / file
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{file} has no {old!r}: the test plants nothing"
    path.write_text(text.replace(old, new, count), encoding="utf-8")
