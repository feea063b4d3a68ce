"""What is in the image, and what is not."""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.image.conftest import RELEASE, SECRET
from tests.image.containers import Image

TOOLS = "gcc g++ cc c++ clang ld as make cmake rustc go pip pip3 uv poetry conda node npm npx curl wget git"
GZIP = b"\x1f\x8b"
CHUNK = 1 << 20

# Paths of what could install or compile, and of bytecode that is missing or would be compared with its source.
LOOK = r"""
import json, pathlib, shutil, sys
found = {name: shutil.which(name) for name in sys.argv[1].split()}
installers = [str(path) for top in ("/usr", "/opt", "/app") for path in pathlib.Path(top).rglob("*")
              if path.name in ("pip", "ensurepip", "uv", "node_modules") or path.name.startswith("pip-")]
def is_compiled(path):
    cached = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
    return cached.exists() and cached.read_bytes()[4] == 1  # by hash, unchecked
ours = [path for path in pathlib.Path("/app").rglob("*.py")]
print(json.dumps({
    "tools": [path for path in found.values() if path],
    "installers": installers,
    "uncompiled": [str(path) for path in ours if not is_compiled(path)],
    "compiled": len(ours),
    "app": sorted(path.name for path in pathlib.Path("/app").iterdir()),
    "hidden": [str(path) for path in pathlib.Path("/app").rglob(".*")],
    "page": pathlib.Path("/app/dashboard/dist/index.html").exists(),
    "writable": [str(path) for top in ("/app", "/opt") for path in pathlib.Path(top).rglob("*")
                 if not path.is_symlink() and path.stat().st_mode & 0o022],
}))
"""


@pytest.fixture(scope="module")
def contents(image: Image) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(image.run("python", "-c", LOOK, TOOLS))
    return found


def test_nothing_can_be_installed_or_compiled_in_it(contents: dict[str, list[str]]) -> None:
    assert (contents["tools"], contents["installers"]) == ([], [])


def test_it_holds_the_code_and_nothing_else(contents: dict[str, list[str]]) -> None:
    code = ["api", "dashboard", "deployments", "flows", "prefect.yaml", "supabase", "worker"]
    assert [name for name in contents["app"] if not name.endswith(".dist-info")] == code
    assert len(contents["app"]) == len(code) + 1, "there is one project's metadata beside it"
    assert contents["hidden"] == []
    assert contents["page"], "the dashboard's page is missing"


def test_its_code_is_compiled_and_nobody_may_change_it(contents: dict[str, list[str]]) -> None:
    assert contents["compiled"]
    assert (contents["uncompiled"], contents["writable"]) == ([], [])


def test_it_says_who_it_runs_as_what_it_runs_and_what_it_is(image: Image) -> None:
    about = image.engine.inspect(image.tag)
    config = about["Config"]
    assert config["User"] == "10001:10001"
    assert config["WorkingDir"] == "/app"
    # Without a shell in between: SIGTERM reaches the process itself.
    assert (config["Cmd"], config.get("Entrypoint")) == (["python", "-m", "api"], None)
    # Podman says it beside the configuration, docker in it.
    health = about.get("Healthcheck") or config["Healthcheck"]
    assert health["Test"] == ["CMD", "python", "-m", "api.probe"]
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    assert environment["RELEASE"] == config["Labels"]["org.opencontainers.image.revision"] == RELEASE
    assert environment["HOME"] == "/tmp"
    assert not [name for name in environment if re.search("SECRET|PASSWORD|TOKEN|AUTH|API_KEY|SERVICE_KEY", name)]


def test_no_layer_and_no_line_of_its_history_holds_what_lay_beside_the_code(image: Image, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    image.engine.run("save", f"--output={archive}", image.tag, seconds=600)
    # Something that is in it, so that "nowhere" means something.
    known = b"Starts the shim: `python -m api`"
    assert occurrences(archive, (known, SECRET.encode())) == {known}


def occurrences(archive: Path, words: tuple[bytes, ...]) -> set[bytes]:
    """Which of the words are anywhere in an image's archive: layers, configuration, history."""
    found = set()
    with tarfile.open(archive) as parts:
        for part in parts:
            file = parts.extractfile(part)
            if file is not None:
                found |= {word for chunk in chunks(file) for word in words if word in chunk}
    return found


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The content, unpacked where it is a packed layer; each chunk begins with the end of the one before."""
    is_packed = file.read(len(GZIP)) == GZIP
    file.seek(0)
    unpack = zlib.decompressobj(wbits=31).decompress if is_packed else bytes
    last = b""
    while packed := file.read(CHUNK):
        chunk = unpack(packed)
        yield last + chunk
        last = chunk[-100:]


def test_everything_the_cluster_runs_can_be_imported(image: Image, figures: dict[str, str]) -> None:
    modules = "prefect_kubernetes.worker", "prefect_redis", "asyncpg", "deployments.apply", "worker.pod_engine"
    image.run("python", "-c", f"import {', '.join(modules)}")
    figures.update(import_times(image))


def import_times(image: Image) -> dict[str, str]:
    """CPU seconds that a process has used once it has imported what it needs, the interpreter's start included."""
    code = (
        "import resource, {}; used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(f'{{used.ru_utime + used.ru_stime:.2f}} s of CPU, {{used.ru_maxrss // 1024}} MB')"
    )
    needed = {"a run": "worker.pod_engine, flows.crawl_pending", "the shim": "api.server", "the probe": "api.probe"}
    return {
        f"imports of {name}": image.run("python", "-c", code.format(names)).strip() for name, names in needed.items()
    }
