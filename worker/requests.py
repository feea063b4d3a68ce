"""What the worker asks the fork server for, and the two ends of the socket between them.

A request travels as a memory file beside its descriptors, because a flow run's parameters can be larger than a
datagram; the fork server never looks into it, the child does.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

# In the environment of the fork server and of every run, so that a stray process is known as ours.
MARK_VARIABLE = "WORKER_MARK"

_MESSAGE_BYTES = 65536
_MOST_DESCRIPTORS = 4


@dataclass(frozen=True)
class Limits:
    """What one run may use. None: no limit."""

    memory_mb: int | None = None
    cpu_seconds: int | None = None
    max_processes: int | None = None
    max_open_files: int | None = None


@dataclass(frozen=True)
class ForkRequest:
    """Everything a child needs to become a run (or the hooks of one)."""

    kind: Literal["run", "crashed hooks", "cancellation hooks"]
    flow_run: dict[str, Any]
    environment: dict[str, str]
    working_dir: str
    limits: Limits = Limits()
    cgroups: tuple[str, ...] = ()
    """Files to write a process id to, one for each control group the run belongs in."""
    user: str | None = None
    entrypoint: str | None = None
    """Module path of the flow. None: the child asks Prefect where the flow is."""
    state: dict[str, Any] | None = field(default=None)
    """The state that the hooks are run for."""
    no_default_storage: bool = False
    """Whether the worker knows that the server has none for results."""
    reports_version: bool = True
    """Whether the run has to tell Prefect its flow's version; False: the worker does."""

    def to_memory_file(self) -> int:
        """A descriptor to read the request from; the caller closes it."""
        descriptor = os.memfd_create("fork-request", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(json.dumps(asdict(self)).encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    @classmethod
    def from_memory_file(cls, descriptor: int) -> Self:
        """Reads what `to_memory_file` has written, and closes the descriptor."""
        with os.fdopen(descriptor, "rb") as file:
            values = json.loads(file.read())
        return cls(**{**values, "limits": Limits(**values["limits"]), "cgroups": tuple(values["cgroups"])})


def send(connection: socket.socket, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
    """Sends one message, whole or not at all."""
    socket.send_fds(connection, [json.dumps(message).encode()], descriptors or [])


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors; None when the other end is gone."""
    data, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, _MOST_DESCRIPTORS)
    if not data:
        return None
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return json.loads(data), list(descriptors)
