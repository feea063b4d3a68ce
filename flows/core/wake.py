"""Tells a worker on the same machine that a run is due, so that it need not wait for its next look.

The worker polls all the same: a wake-up that is lost costs a second, and one that nobody hears costs nothing.
"""

from __future__ import annotations

import contextlib
import socket


def wake_worker(address: str | None) -> None:
    """Sends one datagram to the worker's socket, where there is one. Never waits and never fails."""
    if address is None:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ear:
        ear.sendto(b"due", address)
