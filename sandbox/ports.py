"""Which port each part listens on, and who holds one that is taken."""

import os
import random
import socket
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

from sandbox.errors import SandboxError
from sandbox.process import MARKER

HOST = "127.0.0.1"

# The numbers the services were published with, plus the ones the other tools document themselves with.
FIXED: Mapping[str, int] = MappingProxyType(
    {
        "postgres": 54322,
        "postgrest": 54323,
        "gateway": 54321,
        "prefect": 4200,
        "clerk": 7010,
        "site": 7011,
        "discovery": 7001,
        "user": 7003,
        "crawler": 7004,
        "email": 7006,
        "shim": 7005,
    }
)

# Below the kernel's ephemeral range, so that an outgoing connection cannot take a port between choice and use.
_FREE_RANGE = (20_000, 32_000)
_RANGE_VARIABLE = "SANDBOX_PORTS"
_LISTEN = "0A"


def is_free(port: int) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def refuse_taken(ports: Mapping[str, int], parts: Iterable[str]) -> None:
    """Raises SandboxError naming the first of the parts' ports that somebody listens on, who, and what to do."""
    for name in parts:
        port = ports.get(name)
        if port is not None and not is_free(port):
            by = holder(port) or "another process"
            raise SandboxError(
                f"Port {port}, which {name} needs, is taken by {by}: {_remedy(port)}; PORTS=free takes others."
            )


def _remedy(port: int) -> str:
    folder = sandbox_at(port)
    if folder is None:
        return "end it first"
    return f"it is the sandbox in {folder}, which `.venv/bin/python -m sandbox --state {folder} down` stops"


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A different free port for each name, out of SANDBOX_PORTS ("20000-24000") where that is set.

    Between choice and use nothing holds a port: stacks that start side by side need ranges of their own.
    """
    first, last = map(int, os.environ[_RANGE_VARIABLE].split("-")) if _RANGE_VARIABLE in os.environ else _FREE_RANGE
    chosen: dict[str, int] = {}
    for name in names:
        candidates = (random.randrange(first, last) for _ in range(1000))  # noqa: S311 - not a secret
        chosen[name] = next(port for port in candidates if port not in chosen.values() and is_free(port))
    return chosen


def holder(port: int) -> str | None:
    """Who listens on the port, as "pid 12 (python -m x)", where /proc tells."""
    process = _listener(port)
    if process is None:
        return None
    words = _read(process / "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return f"pid {process.name} ({words[:80]})"


def sandbox_at(port: int) -> Path | None:
    """The state folder of the sandbox whose part listens on the port; None where it is something else."""
    process = _listener(port)
    if process is None:
        return None
    variables = dict(entry.partition(b"=")[::2] for entry in _read(process / "environ").split(b"\0"))
    if MARKER.encode() not in variables or b"TMPDIR" not in variables:
        return None
    return Path(os.fsdecode(variables[b"TMPDIR"])).parent


def _listener(port: int) -> Path | None:
    """The folder in /proc of the process that listens on the port."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_link(fd) in inodes for fd in (process / "fd").iterdir()):
                return process
        except OSError:  # another user's, or it has ended
            continue
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def _link(descriptor: Path) -> str | None:
    try:
        return str(descriptor.readlink())
    except OSError:  # closed since it was listed
        return None


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
