"""`make image`: builds the image as CI does, named for the commit and as the latest."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from deployments.terminal import Terminal, complain, ended
from sandbox.containers import Engine, find_engine
from sandbox.errors import SandboxError
from sandbox.state import REPOSITORY

IMAGE = "stumbleable.azurecr.io/scheduler-service"


def main() -> int:
    """0 once it is built, 1 with one sentence otherwise."""
    _no_arguments()
    try:
        engine = find_engine()
        tag = f"{IMAGE}:{_release()}"
        with Terminal().step(f"building {tag} with {engine.name}") as step:
            build(engine, tag)
            engine.run("tag", tag, f"{IMAGE}:latest")
            step.done = f"built {tag} ({engine.inspect(tag)['Size'] // 1_000_000} MB), also tagged latest"
    except SandboxError as error:
        complain(str(error))
        return 1
    return 0


def _no_arguments() -> None:
    argparse.ArgumentParser(
        prog="python -m sandbox.image",
        description=__doc__,
        epilog="From the environment: BASE_IMAGE (another base), RELEASE (another name), CONTAINER_ENGINE (docker).",
    ).parse_args()


def build(engine: Engine, tag: str) -> None:
    """Builds the checkout on BASE_IMAGE of the environment, else on what the Dockerfile names."""
    base = {"BASE_IMAGE": os.environ["BASE_IMAGE"]} if os.environ.get("BASE_IMAGE") else {}
    engine.build(REPOSITORY, tag, arguments={**base, "RELEASE": tag.rpartition(":")[2]})


def _release() -> str:
    """RELEASE of the environment, else the commit; what is not committed is marked."""
    if given := os.environ.get("RELEASE"):
        return given
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "development"


if __name__ == "__main__":
    sys.exit(ended(main))
