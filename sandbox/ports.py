"""Which port each part listens on, and who holds one that is taken."""

import random
import socket
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

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
_FREE_RANGE = range(20_000, 32_000)
_LISTEN = "0A"


def is_free(port: int) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A different free port for each name."""
    chosen: dict[str, int] = {}
    for name in names:
        candidates = (random.choice(_FREE_RANGE) for _ in range(1000))  # noqa: S311 - not a secret
        chosen[name] = next(port for port in candidates if port not in chosen.values() and is_free(port))
    return chosen


def holder(port: int) -> str | None:
    """Who listens on the port, as "pid 12 (python -m x)", where /proc tells."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_link(fd) in inodes for fd in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"pid {process.name} ({words[:80]})"
        except OSError:
            continue
    return None


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
