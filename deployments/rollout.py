"""Rolls a release out to a cluster, and back where it does not work: `python -m deployments.rollout --image <image>`.

First what carries the label apply=first, the migrations among it (expand, then contract: the old release runs on what
they leave), then the rest of the manifests, then the Job that registers Prefect's deployments, then the smoke test.
Whatever fails after the migrations brings the old release back: its pods, its configuration and its deployments in
Prefect. Needs kubectl and Python's standard library, nothing else, so that a bare CI runner can.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.kubectl import CommandFailedError, Kubectl
from deployments.kustomize import kustomization, replacement

SHIM = "scheduler-service"
# The namespace is the site's too.
OURS = "app.kubernetes.io/part-of=stumbleable-scheduler"
FIRST = "scheduler.stumbleable.com/apply=first"
MIGRATE, REGISTER, SMOKE = "scheduler-migrate", "scheduler-deployments", "scheduler-smoke"
FIRST_BUT_MIGRATE = f"{FIRST},app!={MIGRATE}"
REST = f"scheduler.stumbleable.com/apply!=first,app!={REGISTER}"
_REVISION = "deployment.kubernetes.io/revision"
# The Jobs' own activeDeadlineSeconds, and what a pod takes to be told of it.
_JOB_SECONDS = 1800 + 60


class RolloutError(Exception):
    """Which step failed, in one sentence."""


@dataclass(frozen=True)
class Before:
    """What runs before anything is changed: each Deployment's revision, the shim's image, our ConfigMaps' data."""

    revisions: dict[str, str]
    image: str | None
    configs: dict[str, dict[str, str]]


class Rollout:
    """One roll-out of `overlay`, with the smoke test of `smoke` at its end; `seconds` for the pods to become ready."""

    def __init__(self, kubectl: Kubectl, *, overlay: Path, smoke: Path, seconds: int, poll_seconds: float = 2) -> None:
        self._kubectl = kubectl
        self._overlay = overlay
        self._smoke = smoke
        self._seconds = seconds
        self._poll_seconds = poll_seconds

    def run(self, image: str, *, migrate: bool = True) -> int:
        """0: rolled out; 1: it was not, and what ran before runs; 2: and what ran before could not be brought back."""
        before = self._before()
        try:
            if migrate:
                self._job(MIGRATE, self._overlay, FIRST, image)
        except (RolloutError, CommandFailedError) as error:
            _fail(str(error))
            return self._untouched(before)
        try:
            if not migrate:
                self._applied(image, FIRST_BUT_MIGRATE)
            self._apply(image)
            self._job(REGISTER, self._overlay, f"app={REGISTER}", image)
            self._job(SMOKE, self._smoke, f"app={SMOKE}", image)
        except (RolloutError, CommandFailedError) as error:
            _fail(str(error))
            return self._back(before)
        _say(f"{image} is rolled out")
        return 0

    def _before(self) -> Before:
        found = self._items("deployments")
        shim = [item for item in found if item["metadata"]["name"] == SHIM]
        return Before(
            revisions={
                item["metadata"]["name"]: item["metadata"].get("annotations", {}).get(_REVISION, "") for item in found
            },
            image=shim[0]["spec"]["template"]["spec"]["containers"][0]["image"] if shim else None,
            configs={item["metadata"]["name"]: item.get("data", {}) for item in self._items("configmaps", f",{FIRST}")},
        )

    def _items(self, kind: str, labelled: str = "") -> list[dict[str, Any]]:
        found = self._kubectl("get", kind, "-l", f"{OURS}{labelled}", "-o", "json")
        items: list[dict[str, Any]] = json.loads(found)["items"]
        return items

    def _apply(self, image: str) -> None:
        _say(f"rolling out {image}")
        applied = self._applied(image, REST)
        self._wait([name for name in applied if name.startswith(("deployment.apps/", "statefulset.apps/"))])

    def _applied(self, image: str, selector: str) -> list[str]:
        with self._rendered(self._overlay, image) as folder:
            return self._kubectl("apply", "-k", str(folder), "-l", selector, "-o", "name").split()

    def _wait(self, workloads: Sequence[str]) -> None:
        deadline = time.monotonic() + self._seconds
        for name in workloads:
            left = max(1, int(deadline - time.monotonic()))
            try:
                self._kubectl("rollout", "status", name, f"--timeout={left}s")
            except CommandFailedError as error:
                self._tell("get", "pods", "-o", "wide")
                self._tell("get", "events", "--field-selector", "type=Warning", "--sort-by=.lastTimestamp")
                raise RolloutError(f"{name} did not become ready: {error}") from error

    def _job(self, name: str, source: Path, selector: str, image: str) -> None:
        """Applies what a selector chooses, a Job among it, and waits for its end. Raises RolloutError if it failed."""
        _say(f"running the Job {name} of {image}")
        # A Job cannot be changed; the last release's is still there.
        self._kubectl("delete", f"job.batch/{name}", "--ignore-not-found", "--wait=true")
        with self._rendered(source, image) as folder:
            self._kubectl("apply", "-k", str(folder), "-l", selector)
        succeeded = self._ended(f"job.batch/{name}")
        self._tell("logs", f"job.batch/{name}", "--all-containers", "--tail=200")
        if not succeeded:
            self._tell("get", "pods", "-l", f"app={name}", "-o", "wide")
            raise RolloutError(f"The Job {name} failed.")

    def _ended(self, job: str) -> bool:
        deadline = time.monotonic() + _JOB_SECONDS
        while time.monotonic() < deadline:
            status = json.loads(self._kubectl("get", job, "-o", "json")).get("status", {})
            conditions = {one["type"] for one in status.get("conditions", []) if one["status"] == "True"}
            if conditions & {"Complete", "Failed"}:
                return "Complete" in conditions
            time.sleep(self._poll_seconds)
        _fail(f"{job} did not end within {_JOB_SECONDS} s.")
        return False

    def _untouched(self, before: Before) -> int:
        try:
            self._configure(before)
        except CommandFailedError as error:
            _fail(f"{error}\nThe ConfigMaps are the new release's: put them back by hand.")
            return 2
        _fail(f"Nothing was rolled out: {before.image or 'nothing'} runs as before.")
        return 1

    def _configure(self, before: Before) -> None:
        """Puts the old values back; what the new release has added is nothing that the old one reads."""
        for name, data in before.configs.items():
            self._kubectl("patch", "configmap", name, "--type=merge", "-p", json.dumps({"data": data}))

    def _back(self, before: Before) -> int:
        """Brings back what ran before, by the revisions that Kubernetes has kept."""
        if before.image is None:
            _fail("There is no earlier release to go back to: it stays as it is, to be looked at.")
            return 1
        _say(f"rolling back to {before.image}")
        try:
            self._configure(before)
            now = self._before().revisions
            changed = [name for name, revision in before.revisions.items() if now.get(name, revision) != revision]
            for name in changed:
                # By number: a Deployment that this release did not change must not go back further.
                self._kubectl("rollout", "undo", f"deployment/{name}", f"--to-revision={before.revisions[name]}")
            self._wait([f"deployment/{name}" for name in changed])
            # The pool's job template names the image of flow runs, and Prefect the new release's parameters.
            self._job(REGISTER, self._overlay, f"app={REGISTER}", before.image)
        except (RolloutError, CommandFailedError) as error:
            _fail(f"{error}\nThe way back failed as well: see docs/operations.md, roll back.")
            return 2
        _fail(f"Rolled back: {before.image} runs. Migrations stay, they fit both.")
        return 1

    @contextmanager
    def _rendered(self, source: Path, image: str) -> Iterator[Path]:
        """A kustomization of the source with this image; the tree itself is left as it is."""
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made).resolve()
            path = folder / "kustomization.yaml"
            path.write_text(json.dumps(kustomization(source.resolve(), folder, image)), encoding="utf-8")
            yield folder

    def _tell(self, *words: str) -> None:
        try:
            _say(self._kubectl(*words).rstrip())
        except CommandFailedError as error:
            _say(str(error))


def _say(line: str) -> None:
    print(line, flush=True)


def _fail(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(given: Sequence[str]) -> int:
    """See `Rollout.run`."""
    root = Path(__file__).resolve().parent.parent / "k8s"
    parser = argparse.ArgumentParser(
        prog="python -m deployments.rollout", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--image", required=True, help="the image, by digest (preferred) or tag")
    parser.add_argument("--overlay", type=Path, default=root / "overlays" / "production", help="what is applied")
    parser.add_argument("--smoke", type=Path, default=root / "jobs" / "smoke", help="what tests it at the end")
    parser.add_argument("--namespace", default="stumbleable", help="where it all runs")
    parser.add_argument("--context", help="of kubectl's configuration; default: its current one")
    parser.add_argument(
        "--timeout", type=int, default=600, metavar="SECONDS", help="for the pods to become ready (600)"
    )
    parser.add_argument("--poll", type=float, default=2, metavar="SECONDS", help="between looks at a Job (2)")
    parser.add_argument(
        "--without-migration", action="store_true", help="for going back to a release that is older than the database"
    )
    asked = parser.parse_args(given)
    try:
        replacement(asked.image)
    except ValueError as error:
        parser.error(str(error))
    kubectl = Kubectl(namespace=asked.namespace, context=asked.context)
    for folder in (asked.overlay, asked.smoke):
        if not (folder / "kustomization.yaml").is_file():
            parser.error(f"{folder} holds no kustomization.yaml")
    rollout = Rollout(kubectl, overlay=asked.overlay, smoke=asked.smoke, seconds=asked.timeout, poll_seconds=asked.poll)
    try:
        return rollout.run(asked.image, migrate=not asked.without_migration)
    except (RolloutError, CommandFailedError) as error:
        _fail(f"{error}\nNothing was changed.")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
