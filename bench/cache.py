"""Where a machine keeps what a benchmark would otherwise make anew: other systems' environments, long histories."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "stumbleable-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
