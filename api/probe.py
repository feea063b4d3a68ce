"""Whether the shim of this container answers, for the image's HEALTHCHECK: `python -m api.probe`.

Nothing of ours is imported: it runs every ten seconds beside the shim, and an import of Prefect costs a second of CPU.
"""

from __future__ import annotations

import http.client
import os
import sys

_PATIENCE_SECONDS = 2


def main() -> int:
    """0 where `/health` answers 200, else 1 and why."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "8080")), timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except OSError as error:
        print(f"The shim does not answer: {error}", file=sys.stderr)  # noqa: T201  # what `podman inspect` shows
        return 1
    if status != http.client.OK:
        print(f"The shim answers {status}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
