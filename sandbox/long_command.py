"""Runs a command that takes long, and says what it is for, how long it took, and why it failed: for the Makefile.

`python -m sandbox.long_command [--in FOLDER] [--mistakes] "Installing PostgREST" npm ci ...`

Needs no package, because it installs them. What the command prints is kept back; where it fails on something known (no
network, a full disk), that is said with what to do, else its last lines are shown. With --mistakes what it prints is
the message, and all of it is shown.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from deployments.streams import has_colour, is_watched

LOG = Path(".sandbox") / "logs" / "make.log"

_INTERRUPTED = 130
_NOT_INSTALLED = 127
_GRACE_SECONDS = 10
_SHOWN_LINES = 15
_CREDENTIALS = re.compile(r"(://)[^/@\s]+@")


class Cause(NamedTuple):
    signs: str
    meaning: str
    remedy: str


# The first whose sign is in the output counts: a full disk also breaks downloads.
CAUSES = (
    Cause(r"ENOSPC|No space left on device|os error 28\b", "the disk is full", "Make room"),
    Cause(
        r"EACCES|Permission denied|os error 13\b",
        "a file belongs to another user",
        'Give it back (sudo chown -R "$USER" .)',
    ),
    Cause(
        r"EINTEGRITY|[Hh]ash mismatch|DO NOT MATCH THE HASHES",
        "what was downloaded is not what the lock file names",
        "Look for a proxy or mirror that alters packages; after a change of the dependencies: make lock",
    ),
    Cause(r"EUSAGE|lock file's .* does not satisfy", "the lock file does not fit package.json", "Run make lock"),
    Cause(
        r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT"
        r"|[Nn]ame or service not known|[Tt]emporary failure in name resolution|[Nn]etwork is unreachable"
        r"|[Cc]onnection (?:refused|reset|timed out)|dns error|[Ff]ailed to (?:fetch|establish a new connection)"
        r"|error sending request|No matching distribution found",
        "the network, or the registry that pip, uv or npm is set up for, is not within reach",
        "See to the connection or the proxy (HTTPS_PROXY), or name another registry (PIP_INDEX_URL and"
        " UV_DEFAULT_INDEX; npm config set registry)",
    ),
    Cause(r"heap out of memory|ENOMEM|Cannot allocate memory|MemoryError", "memory ran out", "Stop something else"),
)


def cause_of(output: str) -> Cause | None:
    """The known reason for a failure, by what the command has printed."""
    return next((cause for cause in CAUSES if re.search(cause.signs, output)), None)


def run(doing: str, command: Sequence[str], *, folder: Path | None = None, mistakes: bool = False) -> int:
    """The command's exit status, after a line that says how it went."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            status = _watched(doing, command, folder, (output, errors), began)
        except FileNotFoundError as error:
            return _fail(f"{doing}: failed: {error.filename} is not installed, or not in PATH.", _NOT_INSTALLED)
        told = _read(errors)
        if not status:
            sys.stderr.write(told)
            sys.stderr.flush()
            print(f"{doing}: done ({time.monotonic() - began:.1f} s)", flush=True)
            return 0
        if status == _INTERRUPTED:
            return status
        failed = f"{doing}: failed ({time.monotonic() - began:.1f} s)"
        told = (told + _read(output)).rstrip("\n")
    return _fail(f"{told}\n{failed}" if mistakes else _explained(failed, told, status), status)


def _watched(
    doing: str, command: Sequence[str], folder: Path | None, files: tuple[IO[bytes], IO[bytes]], began: float
) -> int:
    """The exit status as a shell has it; meanwhile the seconds go by where somebody watches."""
    environment = {**os.environ, "FORCE_COLOR": "1"} if has_colour(sys.stdout) else None
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=files[0], stderr=files[1]
    )
    is_live = is_watched(sys.stdout)
    try:
        while True:
            if is_live:
                _overwrite(f"{doing}  {time.monotonic() - began:.0f} s")
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(1)
                return status if status >= 0 else 128 - status
    except KeyboardInterrupt:
        # It has had the signal as well.
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(_GRACE_SECONDS)
        process.kill()
        process.wait()
        return _INTERRUPTED
    finally:
        if is_live:
            _overwrite("")


def _overwrite(text: str) -> None:
    width = shutil.get_terminal_size().columns - 1
    sys.stdout.write(f"\r{' ' * width}\r{text[:width]}")
    sys.stdout.flush()


def _explained(failed: str, told: str, status: int) -> str:
    """Cause and remedy in two lines; where the cause is not known, the end of what was said."""
    told = _CREDENTIALS.sub(r"\1", told).strip()
    kept = f" All it said: {LOG}" if _keep(told) else ""
    if cause := cause_of(told):
        return f"{failed}: {cause.meaning}.\n{cause.remedy}, then run make again.{kept}"
    end = "".join(f"    {line}\n" for line in told.splitlines()[-_SHOWN_LINES:])
    return f"{end}{failed}: exit status {status}; its last lines stand above.{kept}"


def _keep(told: str) -> bool:
    """Whether the log could be written: on a full disk it cannot."""
    try:
        for folder in (LOG.parent.parent, LOG.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        LOG.write_text(f"{told}\n", encoding="utf-8")
    except OSError:
        return False
    return True


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _fail(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return status


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.long_command", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--in", dest="folder", type=Path, help="folder to run it in")
    parser.add_argument("--mistakes", action="store_true", help="what it prints when it fails is the message")
    parser.add_argument("doing", help="what it is for, as `Installing ...`")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(given)
    if not options.command:
        parser.error("there is no command to run")
    return run(options.doing, options.command, folder=options.folder, mistakes=options.mistakes)


if __name__ == "__main__":
    sys.exit(main())
