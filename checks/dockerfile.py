"""The Dockerfile, by hadolint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DOCKERFILE = Path("Dockerfile")
_PATIENCE_SECONDS = 60


def mistakes(root: Path) -> list[str]:
    """What hadolint says of it, a line each, whatever its severity; empty where it says nothing."""
    if not (root / DOCKERFILE).is_file():
        return [f"{DOCKERFILE}: is missing"]
    command = [str(Path(sys.executable).with_name("hadolint")), "--no-color", "--format=json", str(DOCKERFILE)]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS)
        found = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"{DOCKERFILE}: hadolint cannot be run: {error}"]
    except json.JSONDecodeError:
        return [f"{DOCKERFILE}: hadolint failed: {done.stderr.strip() or done.returncode}"]
    return [
        f"{DOCKERFILE}:{one['line']}: {one['message']} ({one['code']}; https://github.com/hadolint/hadolint/wiki)"
        for one in found
    ]
