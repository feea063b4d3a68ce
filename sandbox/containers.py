"""Images and containers, with whichever of podman and docker works on this machine.

Podman is told to do with what a machine without systemd, or inside another virtual machine, has: builds in a chroot,
runc where it is installed, limits no higher than our own.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError

ENGINES = ("podman", "docker")

_ANSWER_SECONDS = 60
_BUILD_SECONDS = 1800
# Of what a build says: its end.
_TAIL_CHARACTERS = 3000
# Open files, and processes and threads: more than a container of ours ever has.
_ENOUGH = 4096


@dataclass(frozen=True)
class Engine:
    name: str
    program: str

    def build(self, context: Path, tag: str, *, arguments: Mapping[str, str], pull: bool = True) -> None:
        """Builds the Dockerfile of `context`. Raises SandboxError with the end of what the build said."""
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        if self.name == "podman":
            # Its own format, OCI's, has no HEALTHCHECK.
            options += ["--format=docker", "--isolation=chroot", "--network=host", "--layers"]
            options += [] if pull else ["--pull-never"]
        self.run("build", *options, f"--tag={tag}", str(context), seconds=_BUILD_SECONDS)

    def inspect(self, name: str) -> dict[str, Any]:
        """What the engine knows of an image or a container. Raises SandboxError where there is none."""
        found: list[dict[str, Any]] = json.loads(self.run("inspect", name))
        return found[0]

    def has_image(self, tag: str) -> bool:
        """Whether the image is on this machine."""
        try:
            self.run("image", "inspect", tag)
        except SandboxError:
            return False
        return True

    def start_options(self) -> list[str]:
        """What `run` needs here whatever is run."""
        if self.name != "podman":
            return []
        # Health checks would be systemd's timers. Podman's own limits are higher than a container of ours may have.
        limits = [
            f"--ulimit={name}={_limit(number)}"
            for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
        ]
        return ["--no-healthcheck", *limits]

    def command(self, *words: str) -> list[str]:
        """The engine's command line."""
        runtime = ["--runtime=runc"] if self.name == "podman" and shutil.which("runc") else []
        return [self.program, *runtime, *words]

    def run(self, *words: str, environment: Mapping[str, str] | None = None, seconds: float = _ANSWER_SECONDS) -> str:
        """What a command prints. Raises SandboxError with the end of its complaints where it fails."""
        said = f"`{self.name} {words[0]}`"
        try:
            done = subprocess.run(
                self.command(*words),
                env=None if environment is None else {**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxError(f"{said} did not end within {seconds:g} s.") from error
        if done.returncode:
            raise SandboxError(f"{said} failed:\n{(done.stdout + done.stderr).strip()[-_TAIL_CHARACTERS:]}")
        return done.stdout


def find_engine() -> Engine:
    """The first of podman and docker that works here, or the one that CONTAINER_ENGINE names.

    Raises SandboxError saying what is missing. A docker client without its daemon does not work.
    """
    chosen = os.environ.get("CONTAINER_ENGINE")
    problems = []
    for name in (chosen,) if chosen else ENGINES:
        program = shutil.which(name)
        if program is None:
            problems.append(f"{name} is not installed")
            continue
        engine = Engine(Path(name).name, program)
        try:
            engine.run("info")
        except SandboxError as error:
            problems.append(f"{name} does not work: {str(error).strip().splitlines()[-1]}")
        else:
            return engine
    raise SandboxError(f"An image needs podman or docker: {'; '.join(problems)}.")


def _limit(number: int) -> int:
    _soft, hard = resource.getrlimit(number)
    return _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
