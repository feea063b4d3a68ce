"""A kubectl that has no cluster: `python kubectl.py` records each call in FAKE_KUBECTL, and answers from there.

The folder holds `cluster.json` (what there is, and what is to fail) and gets `calls.jsonl`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

HOME = Path(os.environ.get("FAKE_KUBECTL", "."))


def main(words: list[str]) -> int:
    """Does what the words ask for; its exit status."""
    cluster = json.loads((HOME / "cluster.json").read_text())
    words = [word for word in words if not word.startswith(("--namespace=", "--context="))]
    source = words[words.index("-k") + 1] if "-k" in words else None
    image = _image(Path(source)) if source else None
    with (HOME / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"words": [w for w in words if w != source], "image": image}) + "\n")
    code, said = _answer(words, image, cluster)
    (HOME / "cluster.json").write_text(json.dumps(cluster))
    print(said, file=sys.stderr if code else sys.stdout)
    return code


def _image(folder: Path) -> str:
    """The image that a kustomization puts in place of the manifests' own."""
    (image,) = json.loads((folder / "kustomization.yaml").read_text())["images"]
    return f"{image['newName']}@{image['digest']}" if "digest" in image else f"{image['newName']}:{image['newTag']}"


def _answer(words: list[str], image: str | None, cluster: dict[str, Any]) -> tuple[int, str]:
    verb, what = words[0], " ".join(words[:3])
    if any(what.startswith(failing) for failing in cluster["failing"]):
        return 1, f"error: {what} is to fail"
    if verb == "get" and words[1] == "deployments":
        return 0, json.dumps({"items": [_deployment(name, **one) for name, one in cluster["deployments"].items()]})
    if verb == "get" and words[1] == "configmaps":
        return 0, json.dumps({"items": [{"metadata": {"name": n}, "data": d} for n, d in cluster["configs"].items()]})
    if verb == "get" and words[1].startswith("job.batch/"):
        job = words[1].removeprefix("job.batch/")
        ended = "Failed" if cluster["jobs"][job] in cluster["failing_jobs"].get(job, []) else "Complete"
        return 0, json.dumps({"status": {"conditions": [{"type": ended, "status": "True"}]}})
    if verb == "apply":
        return 0, _apply(words[words.index("-l") + 1], str(image), cluster)
    return 0, ""


def _apply(selector: str, image: str, cluster: dict[str, Any]) -> str:
    for job in ("migrate", "deployments", "smoke"):
        if selector == f"app=scheduler-{job}" or (job == "migrate" and selector.endswith("apply=first")):
            cluster["jobs"][f"scheduler-{job}"] = image
            return f"job.batch/scheduler-{job}"
    if "apply=first" in selector:
        return ""
    for name in cluster["manifests"]:
        one = cluster["deployments"].setdefault(name, {"revision": 0, "image": ""})
        if one["image"] != image:
            cluster["deployments"][name] = {"revision": one["revision"] + 1, "image": image}
    return "\n".join(f"deployment.apps/{name}" for name in cluster["manifests"])


def _deployment(name: str, revision: int, image: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "annotations": {"deployment.kubernetes.io/revision": str(revision)}},
        "spec": {"template": {"spec": {"containers": [{"name": name, "image": image}]}}},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
