"""kubectl, in one namespace of one cluster."""

from __future__ import annotations

import subprocess

_PATIENCE_SECONDS = 900
_TOLD_LINES = 20


class CommandFailedError(Exception):
    """Which call failed, and the last lines of what it said."""


class Kubectl:
    def __init__(self, *, namespace: str, context: str | None = None) -> None:
        self._command = ["kubectl", f"--namespace={namespace}", *([f"--context={context}"] if context else [])]

    def __call__(self, *words: str) -> str:
        """What it prints. Raises CommandFailedError where it fails, or is not there."""
        said = f"kubectl {' '.join(words[:3])}"
        try:
            done = subprocess.run(
                [*self._command, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE_SECONDS,
            )
        except FileNotFoundError as error:
            raise CommandFailedError("kubectl is not installed.") from error
        except subprocess.TimeoutExpired as error:
            raise CommandFailedError(f"{said}: did not end within {_PATIENCE_SECONDS} s") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines()[-_TOLD_LINES:]
            raise CommandFailedError(f"{said}: {' / '.join(lines) or f'exit status {done.returncode}'}")
        return done.stdout
