"""Who may import whom. Each rule carries its reason, and the failure prints it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("flows", "api", "deployments", "worker", "sandbox")
CORE_BOTTOM = {"flows.core.domain", "flows.core.errors", "flows.core.redaction"}
CORE_LOW = {"flows.core.settings", "flows.core.retries", "flows.core.prefect_states", "flows.core.lease"}
JOB_FILES = {f"flows.{path.stem}" for path in (ROOT / "flows").glob("*.py") if path.stem != "__init__"}


def imports_of(path: Path) -> set[str]:
    """Modules of ours that a file imports, wherever in the file it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative imports hide who depends on whom"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in OURS}


def modules() -> list[tuple[str, Path]]:
    paths = [path for package in OURS for path in (ROOT / package).rglob("*.py") if "node_modules" not in path.parts]
    return [(".".join(path.relative_to(ROOT).with_suffix("").parts), path) for path in sorted(paths)]


def violations(module: str, imported: set[str]) -> list[str]:
    """What a module may not import, with the reason."""
    top = module.split(".", maxsplit=1)[0]
    wrong: list[str] = []

    def forbid(names: set[str], reason: str) -> None:
        wrong.extend(f"{module} imports {name}: {reason}" for name in sorted(names))

    if module in CORE_BOTTOM:
        forbid(imported, "domain, errors and redaction are what all else stands on and import nothing of ours")
    elif module in CORE_LOW:
        forbid({n for n in imported if n.startswith("flows.clients")}, "settings and the lease know no client")
    elif module.startswith("flows.clients"):
        upper = {"flows.core.scheduled_jobs", "flows.core.job", "flows.core.heartbeat"} & imported
        forbid(upper, "a client does not know what a job is")
    if top == "flows":
        forbid({n for n in imported if n.split(".")[0] != "flows"}, "flows run in pods that hold nothing else")
        if module in JOB_FILES:
            forbid(imported & JOB_FILES - {module}, "job files do not import one another: what two need goes to core")
    if top == "api":
        forbid(imported & JOB_FILES, "the shim knows job types by their deployments, never by their code")
    if top == "deployments":
        forbid(imported & JOB_FILES, "deployments reach job files by entrypoint string")
    if top in ("api", "deployments", "worker"):
        peers = set(OURS) - {"flows", top}
        forbid({n for n in imported if n.split(".")[0] in peers}, "what is deployed apart shares nothing but flows")
    return wrong


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_module_imports_only_what_its_layer_may(module: str, path: Path) -> None:
    assert violations(module, imports_of(path)) == []


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("flows.core.domain", {"flows.core.settings"}),  # the bottom reaching up
        ("flows.core.lease", {"flows.clients.database"}),  # low core reaching a client
        ("flows.clients.http", {"flows.core.job"}),  # a client reaching a job
        ("flows.core.retries", {"api.main"}),  # a flow reaching the shim
        ("api.main", {"flows.crawl_pending"}),  # the shim reaching a job file
        ("deployments.check", {"api.main"}),  # a peer reaching a peer
    ],
)
def test_a_forbidden_import_is_named(module: str, imported: set[str]) -> None:
    (message,) = violations(module, imported)
    assert message.startswith(f"{module} imports ")
