"""Programs that come as Debian packages, because there is no wheel and no npm package of them: the browser, Prometheus.

A machine whose user is root gets what is missing; anybody else is told what to install.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sandbox.errors import SandboxError

_LOCK = Path(tempfile.gettempdir()) / f"stumbleable-apt-{os.getuid()}.lock"
_PATIENCE_SECONDS = 600


def program(name: str, *packages: str) -> str:
    """The path of a program, out of Debian's `packages` (default: the one of its name), installed where it is missing.

    Raises SandboxError saying what to install, where this cannot.
    """
    packages = packages or (name,)
    if found := shutil.which(name):
        return found
    advice = f"{name} is missing: install it (apt-get install {' '.join(packages)})"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SandboxError(f"{advice}.")
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shutil.which(name) is None:
            _install(packages, advice)
    found = shutil.which(name)
    if found is None:
        raise SandboxError(f"{advice}: its package was installed, and there is no {name}.")
    return found


def _install(packages: tuple[str, ...], advice: str) -> None:
    # As in single-user mode, where no package starts a service of its own: only the program is wanted.
    began = time.monotonic()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        try:
            done = subprocess.run(
                ["apt-get", "-o", "DPkg::Lock::Timeout=300", *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxError(f"{advice}; apt-get did not end in {_PATIENCE_SECONDS} s.") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise SandboxError(f"{advice}; apt-get said: {lines[-1] if lines else done.returncode}")
    print(f"installed {' '.join(packages)} with apt-get ({time.monotonic() - began:.0f} s)", file=sys.stderr)
