"""Which container engine is used, and what is said where none works."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.base_image import default_base, find_base
from sandbox.containers import Engine, find_engine
from sandbox.errors import SandboxError


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all there is to find a program in."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CONTAINER_ENGINE", raising=False)
    return tmp_path


def test_a_client_without_its_daemon_is_passed_over(programs: Path) -> None:
    program(programs, "podman", "echo 'no user namespaces' >&2; exit 125")
    program(programs, "docker", "exit 0")
    assert find_engine().name == "docker"


def test_without_an_engine_it_is_said_what_is_wrong_with_each(programs: Path) -> None:
    program(programs, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(SandboxError) as refused:
        find_engine()
    assert str(refused.value) == (
        "An image needs podman or docker: podman is not installed;"
        " docker does not work: Cannot connect to the Docker daemon."
    )


def test_the_engine_that_is_asked_for_is_taken(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(programs, "podman", "exit 0")
    program(programs, "docker", "exit 0")
    monkeypatch.setenv("CONTAINER_ENGINE", "docker")
    assert find_engine().name == "docker"


def test_a_build_that_fails_shows_its_end_and_not_its_arguments(programs: Path) -> None:
    program(programs, "docker", "echo 'STEP 3: it broke' >&2; exit 1")
    engine = Engine("docker", str(programs / "docker"))
    with pytest.raises(SandboxError) as failed:
        engine.build(programs, "tag", arguments={"BASE_IMAGE": "base"})
    assert str(failed.value) == "`docker build` failed:\nSTEP 3: it broke"


def test_a_base_that_is_given_is_taken_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_IMAGE", "registry.test/base:1")
    assert find_base(Engine("podman", "/nowhere")) == "registry.test/base:1"


def test_the_base_of_the_dockerfile_names_a_version() -> None:
    _name, _, version = default_base().rpartition(":")
    assert version[0].isdigit()
