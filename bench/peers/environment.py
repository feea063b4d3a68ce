"""The environment of a system beside ours: its own interpreter and packages, made once for each list of them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.cache import cache_folder

REQUIREMENTS = Path(__file__).with_name("requirements")
_PATIENCE_SECONDS = 900


class Unavailable(Exception):
    """A system cannot be installed or started here; the words say why."""


def binaries(name: str) -> Path:
    """The folder of its programs. Installs what is missing."""
    requirements = REQUIREMENTS / f"{name}.txt"
    state = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    environments = cache_folder() / "environments"
    environments.mkdir(exist_ok=True)
    folder = environments / f"{name}-{state}"
    with (environments / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".ready").exists():
            _install(folder, requirements)
            for old in environments.glob(f"{name}-*"):
                if old != folder:
                    shutil.rmtree(old, ignore_errors=True)
    return folder / "bin"


def version_of(name: str, package: str) -> str:
    """What the system's requirements say."""
    for line in (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        pinned, _, version = line.partition("==")
        if pinned == package:
            return version.split()[0]
    raise KeyError(package)


def _install(folder: Path, requirements: Path) -> None:
    print(f"Installing {requirements.stem} into {folder}", file=sys.stderr, flush=True)
    uv = Path(sys.executable).with_name("uv")
    shutil.rmtree(folder, ignore_errors=True)
    interpreter = folder / "bin" / "python"
    for words in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(interpreter), "-r", str(requirements)],
    ):
        try:
            done = subprocess.run(
                [str(uv), *words], capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"it could not be installed: {error}") from error
        if done.returncode:
            raise Unavailable(f"it could not be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    (folder / ".ready").touch()
