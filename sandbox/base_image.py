"""What the image is built on where the Dockerfile's own base cannot be had: a bare Debian, out of Debian's packages.

It is for tests. It trusts what this machine trusts, so that a network with a certificate of its own can be built in.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from sandbox.containers import Engine
from sandbox.debian import program
from sandbox.errors import SandboxError
from sandbox.state import REPOSITORY

TAG = "localhost/stumbleable-base:bookworm"

_SUITE = "bookworm"
_FOLDER = Path(tempfile.gettempdir()) / f"stumbleable-base-{os.getuid()}"
_TRUSTED = "etc/ssl/certs/ca-certificates.crt"
# Like the official images, without what nobody reads in a container.
_UNREAD = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists")
_DEBOOTSTRAP_SECONDS = 1200
_PULL_SECONDS = 300


def default_base() -> str:
    """The base that the Dockerfile names."""
    found = re.search(r"^ARG BASE_IMAGE=(\S+)$", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SandboxError("The Dockerfile names no BASE_IMAGE.")
    return found[1]


def find_base(engine: Engine) -> str:
    """BASE_IMAGE of the environment, else the Dockerfile's own where it can be had, else one made of Debian's packages.

    The last is made once for a machine and kept in its folder of temporary files; it needs root.
    """
    if given := os.environ.get("BASE_IMAGE"):
        return given
    if _can_be_had(engine, default_base()):
        return default_base()
    if not engine.has_image(TAG):
        engine.run("import", str(_archive()), TAG, seconds=_PULL_SECONDS)
    return TAG


def _can_be_had(engine: Engine, tag: str) -> bool:
    if engine.has_image(tag):
        return True
    try:
        engine.run("pull", "--quiet", tag, seconds=_PULL_SECONDS)
    except SandboxError:
        return False
    return True


def _archive() -> Path:
    archive = _FOLDER / f"{_SUITE}.tar"
    if not archive.exists():
        if os.geteuid() != 0:
            raise SandboxError("No registry can be reached, and only root can make a base: set BASE_IMAGE.")
        _FOLDER.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
            _make(Path(folder) / "root", Path(folder) / archive.name)
            (Path(folder) / archive.name).rename(archive)
    return archive


def _make(root: Path, archive: Path) -> None:
    _run(program("debootstrap"), "--variant=minbase", "--include=ca-certificates", _SUITE, str(root))
    if trusted := ssl.get_default_verify_paths().cafile:
        shutil.copyfile(trusted, root / _TRUSTED)
    for name in _UNREAD:
        shutil.rmtree(root / name)
        (root / name).mkdir()
    _run("tar", "--create", f"--file={archive}", "--one-file-system", f"--directory={root}", ".")


def _run(*command: str) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_DEBOOTSTRAP_SECONDS
    )
    if done.returncode:
        raise SandboxError(f"{Path(command[0]).name} failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
