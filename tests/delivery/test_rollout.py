"""`python -m deployments.rollout` with a kubectl that records: what is done in which order, and how it goes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import rollout
from deployments.kustomize import IMAGE, kustomization
from sandbox.state import REPOSITORY
from tests.delivery import kubectl

OLD = f"{IMAGE}:old"
NEW = f"elsewhere.azurecr.io/scheduler-service@sha256:{'a' * 64}"


def kubectl_minor() -> int:
    """The installed kubectl's version, 1.x; 0 where there is none."""
    if shutil.which("kubectl") is None:
        return 0
    words = ["kubectl", "version", "--client", "-o", "json"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return int(json.loads(said)["clientVersion"]["minor"].rstrip("+"))


# Debian's 1.20 has a kustomize that knows no `patches`, and may not talk to a cluster of today either.
needs_kubectl = pytest.mark.skipif(kubectl_minor() < 27, reason="kubectl is missing, or too old for a roll-out")
WORKLOADS = ["prefect-server", "scheduler-worker", "scheduler-service"]


class Cluster:
    """A folder that the fake kubectl takes for a cluster, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = folder / "programs"
        self._programs.mkdir()
        program = self._programs / "kubectl"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{kubectl.__file__}" "$@"\n')
        program.chmod(0o755)
        overlay = folder / "overlay"
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text("resources: []\n")
        self.holds(deployments={name: {"revision": 7, "image": OLD} for name in WORKLOADS})

    def holds(self, **changed: Any) -> None:
        """What there is, and what is to fail."""
        usual = {
            "deployments": {},
            "manifests": WORKLOADS,
            "configs": {"scheduler-config": {"IMAGE": OLD}, "prefect-server-config": {"DO_NOT_TRACK": "1"}},
            "jobs": {},
            "failing": [],
            "failing_jobs": {},
        }
        path = self._folder / "cluster.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(usual | known | changed))

    def roll_out(self, *words: str, image: str = NEW) -> tuple[int, str, str]:
        """The command's exit status and what it printed."""
        done = subprocess.run(
            [
                sys.executable,
                "-S",
                "-m",
                "deployments.rollout",
                "--image",
                image,
                "--overlay",
                self._folder / "overlay",
                *words,
            ],
            env={
                "PATH": f"{self._programs}:{os.environ['PATH']}",
                "FAKE_KUBECTL": str(self._folder),
            },
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    @property
    def changes(self) -> list[str]:
        """What was asked of it that changes something, in words, the image behind what has one."""
        path = self._folder / "calls.jsonl"
        calls = [json.loads(line) for line in path.read_text().splitlines()]
        return [
            " ".join([*call["words"], *([call["image"]] if call["image"] else [])])
            for call in calls
            if call["words"][0] not in {"get", "logs"} and call["words"][:2] != ["rollout", "status"]
        ]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Three Deployments of an old release, each at its seventh revision."""
    return Cluster(tmp_path)


def job(name: str, image: str, selector: str | None = None) -> list[str]:
    """The changes that running a Job is."""
    return [
        f"delete job.batch/scheduler-{name} --ignore-not-found --wait=true",
        f"apply -k -l {selector or f'app=scheduler-{name}'} {image}",
    ]


MIGRATE = job("migrate", NEW, "scheduler.stumbleable.com/apply=first")
ROLL_OUT = f"apply -k -l scheduler.stumbleable.com/apply!=first,app!=scheduler-deployments -o name {NEW}"
RESTORE = [
    f'patch configmap scheduler-config --type=merge -p {{"data": {{"IMAGE": "{OLD}"}}}}',
    'patch configmap prefect-server-config --type=merge -p {"data": {"DO_NOT_TRACK": "1"}}',
]
UNDO = [f"rollout undo deployment/{name} --to-revision=7" for name in WORKLOADS]


def test_a_release_is_migrated_rolled_out_registered_and_tested_in_that_order(cluster: Cluster) -> None:
    code, output, errors = cluster.roll_out()
    assert (code, errors) == (0, "")
    assert output.splitlines()[-1] == f"{NEW} is rolled out"
    assert cluster.changes == [*MIGRATE, ROLL_OUT, *job("deployments", NEW), *job("smoke", NEW)]


def test_a_failed_migration_rolls_nothing_out(cluster: Cluster) -> None:
    cluster.holds(failing_jobs={"scheduler-migrate": [NEW]})
    code, _, errors = cluster.roll_out()
    assert code == 1
    assert errors == f"The Job scheduler-migrate failed.\nNothing was rolled out: {OLD} runs as before.\n"
    assert cluster.changes == [*MIGRATE, *RESTORE]


# What fails after the manifests were applied, and what had been asked for until then.
@pytest.mark.parametrize(
    ("failing", "before"),
    [
        ({"failing_jobs": {"scheduler-smoke": [NEW]}}, [ROLL_OUT, *job("deployments", NEW), *job("smoke", NEW)]),
        ({"failing_jobs": {"scheduler-deployments": [NEW]}}, [ROLL_OUT, *job("deployments", NEW)]),
    ],
)
def test_a_failure_brings_pods_configuration_and_deployments_of_the_old_image_back(
    cluster: Cluster, failing: dict[str, Any], before: list[str]
) -> None:
    cluster.holds(**failing)
    code, _, errors = cluster.roll_out()
    assert code == 1
    assert errors.splitlines()[-1] == f"Rolled back: {OLD} runs. Migrations stay, they fit both."
    assert cluster.changes == [*MIGRATE, *before, *RESTORE, *UNDO, *job("deployments", OLD)]


def test_pods_that_do_not_become_ready_are_a_failure_with_what_the_cluster_says_of_them(cluster: Cluster) -> None:
    # The new revision never becomes ready, and after the undo nobody asks about this one in this test's cluster.
    cluster.holds(failing=["rollout status deployment.apps/scheduler-worker"])
    code, _, errors = cluster.roll_out()
    assert code == 1
    assert errors.startswith("deployment.apps/scheduler-worker did not become ready: kubectl rollout status")
    assert cluster.changes == [*MIGRATE, ROLL_OUT, *RESTORE, *UNDO, *job("deployments", OLD)]


def test_a_deployment_that_the_release_did_not_change_is_not_taken_back_further(cluster: Cluster) -> None:
    changed = {name: {"revision": 7, "image": OLD} for name in WORKLOADS}
    changed["prefect-server"]["image"] = NEW  # as if this one had had it already
    cluster.holds(deployments=changed, failing_jobs={"scheduler-smoke": [NEW]})
    assert cluster.roll_out()[0] == 1
    assert [change for change in cluster.changes if "undo" in change] == UNDO[1:]


def test_a_first_release_that_fails_stays_to_be_looked_at(cluster: Cluster) -> None:
    cluster.holds(deployments={}, configs={}, failing_jobs={"scheduler-smoke": [NEW]})
    code, _, errors = cluster.roll_out()
    assert code == 1
    assert "There is no earlier release to go back to" in errors
    assert cluster.changes[-1] == job("smoke", NEW)[-1]


def test_a_way_back_that_fails_is_told_by_its_own_status(cluster: Cluster) -> None:
    cluster.holds(failing_jobs={"scheduler-smoke": [NEW]}, failing=["rollout undo"])
    code, _, errors = cluster.roll_out()
    assert code == 2
    assert "The way back failed as well" in errors


def test_an_older_release_is_rolled_out_without_its_migrations(cluster: Cluster) -> None:
    older = f"{IMAGE}:older"
    assert cluster.roll_out("--without-migration", image=older)[0] == 0
    assert cluster.changes == [
        f"apply -k -l scheduler.stumbleable.com/apply=first,app!=scheduler-migrate -o name {older}",
        ROLL_OUT.replace(NEW, older),
        *job("deployments", older),
        *job("smoke", older),
    ]


def test_a_cluster_that_does_not_answer_is_left_alone(cluster: Cluster) -> None:
    cluster.holds(failing=["get deployments"])
    code, _, errors = cluster.roll_out()
    assert code == 1
    assert errors == "kubectl get deployments -l: error: get deployments -l is to fail\nNothing was changed.\n"
    assert cluster.changes == []


def test_a_bare_python_can_roll_out() -> None:
    words = ["-S", "-I", "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import deployments.rollout"]
    assert subprocess.run([sys.executable, *words], check=False, capture_output=True).returncode == 0


# An image as it may be written, and what kustomize is told of it.
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("a.io/s:1", {"newName": "a.io/s", "newTag": "1"}),
        ("a.io/s@sha256:0", {"newName": "a.io/s", "digest": "sha256:0"}),
        ("a.io:5000/s:1@sha256:0", {"newName": "a.io:5000/s", "digest": "sha256:0"}),
    ],
)
def test_an_image_is_named_by_digest_or_tag(tmp_path: Path, image: str, expected: dict[str, str]) -> None:
    assert kustomization(tmp_path, tmp_path, image)["images"] == [{"name": IMAGE, **expected}]


@pytest.mark.parametrize("image", ["a.io/s", "a.io:5000/s"])
def test_an_image_without_a_tag_is_refused(tmp_path: Path, image: str) -> None:
    with pytest.raises(ValueError, match="names neither a tag nor a digest"):
        kustomization(tmp_path, tmp_path, image)


def rendered(source: str, folder: Path) -> list[dict[str, Any]]:
    """What kubectl would apply of a kustomization of ours with the new image."""
    path = folder / "kustomization.yaml"
    path.write_text(json.dumps(kustomization(REPOSITORY / "k8s" / source, folder, NEW)))
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def chosen(objects: list[dict[str, Any]], selector: str) -> set[str]:
    """`Kind/name` of what a selector of labels chooses."""
    found = set()
    for one in objects:
        labels = one["metadata"].get("labels", {})
        terms = [term.partition("!=") if "!=" in term else term.partition("=") for term in selector.split(",")]
        if all((labels.get(key) == value) == (sign == "=") for key, sign, value in terms):
            found.add(f"{one['kind']}/{one['metadata']['name']}")
    return found


@needs_kubectl
def test_the_manifests_carry_the_labels_that_a_roll_out_goes_by(tmp_path: Path) -> None:
    objects = rendered("overlays/production", tmp_path)
    first, rest = chosen(objects, rollout.FIRST), chosen(objects, rollout.REST)
    assert {name for name in first if name.startswith("Job/")} == {"Job/scheduler-migrate"}
    assert {"ConfigMap/scheduler-config", "ConfigMap/prefect-server-config"} <= first
    assert chosen(objects, f"app={rollout.REGISTER}") == {"Job/scheduler-deployments"}
    assert {f"Deployment/{name}" for name in WORKLOADS} <= rest & chosen(objects, rollout.OURS)
    assert not first & rest
    assert first | rest | {"Job/scheduler-deployments"} == {f"{o['kind']}/{o['metadata']['name']}" for o in objects}


# Everything of ours starts from the release: pods by their image, flow runs by what the pool's template is made of.
@needs_kubectl
@pytest.mark.parametrize("source", ["overlays/production", "jobs/smoke"])
def test_the_image_is_put_everywhere_it_stands(tmp_path: Path, source: str) -> None:
    objects = rendered(source, tmp_path)
    text = json.dumps(objects)
    assert NEW in text
    assert IMAGE not in text
    configs = [o["data"] for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "scheduler-config"]
    assert [config["IMAGE"] for config in configs] == [NEW] * len(configs)
