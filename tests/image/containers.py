"""Containers as the cluster's restricted pods are: any user, no privilege, nothing to write to but /tmp."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sandbox.containers import Engine

# Nobody's id: the image knows its own user only.
USER = "23456:23456"
RESTRICTED = (
    "--read-only",
    "--tmpfs=/tmp:rw,mode=1777",
    f"--user={USER}",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--network=host",
)
# What an engine says of a container that it had to kill.
KILLED = 137


@dataclass(frozen=True)
class Image:
    engine: Engine
    tag: str

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """What a command in a container of its own prints. Raises SandboxError where it fails."""
        words = ["run", "--rm", *self._options(environment or {}), self.tag, *command]
        return self.engine.run(*words, environment=environment or {}, seconds=300)

    async def start(self, *command: str, environment: Mapping[str, str]) -> Container:
        """A container that runs the command (none: the image's own) by itself."""
        name = f"stumbleable-{uuid4().hex[:12]}"
        words = ["run", "--detach", f"--name={name}", *self._options(environment), self.tag, *command]
        await asyncio.to_thread(self.engine.run, *words, environment=environment)
        return Container(self.engine, name)

    def _options(self, environment: Mapping[str, str]) -> list[str]:
        # Names alone: a command line can be read by everybody.
        return [*RESTRICTED, *self.engine.start_options(), *(f"--env={name}" for name in environment)]


@dataclass(frozen=True)
class Container:
    engine: Engine
    name: str

    async def call(self, *words: str, seconds: float = 60) -> str:
        """What the engine prints about this container."""
        return await asyncio.to_thread(self.engine.run, *words, self.name, seconds=seconds)

    async def execute(self, *command: str) -> str:
        """What a command beside the container's own prints. Raises SandboxError where it fails."""
        return await asyncio.to_thread(self.engine.run, "exec", self.name, *command)

    async def state(self) -> dict[str, Any]:
        found: dict[str, Any] = (await asyncio.to_thread(self.engine.inspect, self.name))["State"]
        return found

    async def stop(self, grace_seconds: int) -> int:
        """Ends it as the kubelet does: SIGTERM to its first process, SIGKILL after the grace. Its exit code."""
        await self.call("stop", f"--time={grace_seconds}", seconds=grace_seconds + 30)
        return await self.exit_code()

    async def exit_code(self, seconds: float = 120) -> int:
        """How it ended, once it has."""
        return int((await self.call("wait", seconds=seconds)).split()[-1])

    async def remove(self) -> None:
        """Nothing of it stays."""
        await self.call("rm", "--force")
