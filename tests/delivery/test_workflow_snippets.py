"""The shell of the workflows runs: every snippet is Bash, and the deploy job's do what they are for, in order."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.state import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
RELEASE = "0123456789abcdef" * 2 + "01234567"
DIGEST = f"sha256:{'a' * 64}"
IMAGE = "stumbleable.azurecr.io/scheduler-service"
# Every program that a runner has; each call is a line of `calls`.
PROGRAMS = ("az", "docker", "kubelogin", "python3", "sudo")
PROGRAM = f"""\
#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in *"scheduler-service:{RELEASE} --query"*) echo {DIGEST};; esac
"""


def snippets() -> list[tuple[str, str]]:
    """Every step's script, after the name of its place."""
    return [
        (f"{path.name}: {job}: {step.get('name', step['run'])}", step["run"])
        for path in WORKFLOWS
        for job, content in yaml.safe_load(path.read_text())["jobs"].items()
        for step in content.get("steps", [])
        if "run" in step
    ]


@pytest.mark.parametrize(("place", "script"), snippets(), ids=lambda value: value.partition("\n")[0][:60])
def test_a_snippet_is_bash_without_an_expression_in_it(place: str, script: str) -> None:
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False).stderr == ""
    # What is put into a script by ${{ }} is run; what comes by env is a value.
    assert "${{" not in script, place


class Runner:
    """Runs a job's snippets one after the other as GitHub does, on programs that only say that they were called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in PROGRAMS:
            (folder / name).write_text(PROGRAM)
            (folder / name).chmod(0o755)
        (folder / "calls").touch()
        (folder / "kept").touch()

    def run(self, job: str, **environment: str) -> int:
        """The exit status of the first snippet that fails, or 0."""
        content: dict[str, Any] = yaml.safe_load((REPOSITORY / ".github/workflows/deploy-aks.yml").read_text())
        for step in content["jobs"][job]["steps"]:
            if "run" in step:
                done = subprocess.run(
                    ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                    env=self._environment() | environment,
                    capture_output=True,
                    check=False,
                )
                if done.returncode:
                    return done.returncode
        return 0

    def _environment(self) -> dict[str, str]:
        kept = dict(line.split("=", 1) for line in (self._folder / "kept").read_text().splitlines())
        return kept | {
            "PATH": f"{self._folder}:{os.environ['PATH']}",
            "CALLS": str(self._folder / "calls"),
            "GITHUB_ENV": str(self._folder / "kept"),
            "GITHUB_SHA": RELEASE,
            "ACR_NAME": "stumbleable",
            "IMAGE": IMAGE,
            "AKS_RESOURCE_GROUP": "site",
            "AKS_CLUSTER": "aks",
        }

    @property
    def calls(self) -> list[str]:
        """Every program's call, in order."""
        return (self._folder / "calls").read_text().splitlines()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A runner without a cloud."""
    return Runner(tmp_path)


def test_image_is_built_and_pushed_by_its_commit(runner: Runner) -> None:
    assert runner.run("image") == 0
    assert runner.calls == [
        f"docker buildx build --load --pull --no-cache --build-arg RELEASE={RELEASE} --tag {IMAGE}:{RELEASE} .",
        "az acr login --name stumbleable",
        f"docker push {IMAGE}:{RELEASE}",
    ]


def test_release_is_rolled_out_by_its_digest_and_called_latest_afterwards(runner: Runner) -> None:
    assert runner.run("deploy", RELEASE=RELEASE, GOING_BACK="") == 0
    assert runner.calls[-3:] == [
        f"python3 -m deployments.rollout --image {IMAGE}@{DIGEST}",
        "az acr login --name stumbleable",
        f"docker buildx imagetools create --tag {IMAGE}:latest {IMAGE}@{DIGEST}",
    ]


def test_going_back_leaves_the_database_as_it_is(runner: Runner) -> None:
    assert runner.run("deploy", RELEASE=RELEASE, GOING_BACK="--without-migration") == 0
    assert f"python3 -m deployments.rollout --image {IMAGE}@{DIGEST} --without-migration" in runner.calls


# A release that is no commit, one that tries to be a command, and one of which there is no image.
@pytest.mark.parametrize("release", ["main", "$(az account clear)", "f" * 40])
def test_a_release_that_cannot_be_is_refused(runner: Runner, release: str) -> None:
    assert runner.run("deploy", RELEASE=release, GOING_BACK="") == 1
    assert not any(call.startswith("python3") or "account clear" in call for call in runner.calls)
