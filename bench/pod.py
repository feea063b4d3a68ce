"""How long a pod's flow run takes from its process's start to its first line: `python -m bench.pod [runs=15]`.

The run is one of ours, lease and all, begun as a pod begins it: its id in the environment, its state Pending. The
floor under it is an interpreter that imports the same and ends. The commands take turns.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from bench.figures import exit_status, figure, p50
from bench.sizes import sizes_of
from bench.whole import ENTRYPOINT, TYPE, written
from sandbox.parts import dying_with_us
from sandbox.stack import DATABASE_PARTS, Stack
from sandbox.state import REPOSITORY

SIZES = {"runs": 15}
ABOVE_FLOOR_SECONDS = 0.5
EXECUTE = "prefect flow-run execute"
ENGINE = "python -m prefect.engine"
POD = "python -m worker.pod"
FLOOR = "interpreter and imports"
_IMPORTS = "import prefect.engine, prefect.flow_engine, bench.trivial_job, time; print(repr(time.time()))"


def commands() -> dict[str, list[str]]:
    """What a pod may be started with, the template's own last."""
    binaries = Path(sys.executable).parent
    found = {
        EXECUTE: [str(binaries / "prefect"), "flow-run", "execute"],
        ENGINE: [sys.executable, "-m", "prefect.engine"],
    }
    if importlib.util.find_spec("worker.pod") is not None:
        found[POD] = [sys.executable, "-m", "worker.pod"]
    return found


class Bench:
    def __init__(self, stack: Stack, prefect: httpx.AsyncClient, folder: Path) -> None:
        self.prefect = prefect
        self.folder = folder
        # As in the image: `prefect flow-run execute` copies the folder it is started in, and in a checkout that has the
        # packages of a whole environment in it.
        self.app = folder.parent / "app"
        for name in ("flows", "worker", "api", "deployments", "bench"):
            shutil.copytree(REPOSITORY / name, self.app / name)
        shutil.copy(REPOSITORY / "prefect.yaml", self.app)
        wiring = stack.wiring
        self.environment = {
            **wiring.base_environment(),
            **wiring.flow_environment(),
            "BENCH_FOLDER": str(folder),
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "2",
        }

    async def deploy(self) -> str:
        flow = (await self.prefect.post("/flows/", json={"name": TYPE})).raise_for_status().json()["id"]
        body = {"name": TYPE, "flow_id": flow, "entrypoint": ENTRYPOINT, "pull_steps": []}
        return str((await self.prefect.post("/deployments/", json=body)).raise_for_status().json()["id"])

    async def run(self, command: list[str], deployment: str) -> float:
        """Seconds from the process's start to the run's first line."""
        body = {"state": {"type": "PENDING"}}
        made = await self.prefect.post(f"/deployments/{deployment}/create_flow_run", json=body)
        run_id = made.raise_for_status().json()["id"]
        began = time.time()
        process = await self._start(command, {"PREFECT__FLOW_RUN_ID": run_id})
        try:
            at = await written(await self._line_of(run_id, process))
        finally:
            if process.returncode is None:
                await asyncio.wait_for(process.wait(), 60)
        return at - began

    async def floor(self) -> float:
        began = time.time()
        process = await self._start([sys.executable, "-c", _IMPORTS], {})
        output, _ = await process.communicate()
        return float(output) - began

    async def _line_of(self, run_id: str, process: asyncio.subprocess.Process) -> Path:
        """The file of the run's job, which has the run's id, once the process has ended."""
        while process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        file = self.folder / run_id
        if not file.exists():
            said = (self.folder / "pod.log").read_text()[-2000:]
            raise SystemExit(f"the run has ended with {process.returncode} and without its first line:\n{said}")
        return file

    async def _start(self, command: list[str], more: Mapping[str, str]) -> asyncio.subprocess.Process:
        with (self.folder / "pod.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *dying_with_us(command),
                env={**self.environment, **more},
                cwd=self.app,
                stdout=subprocess.PIPE if "-c" in command else log,
                stderr=log,
            )


async def measure(bench: Bench, runs: int) -> bool:
    deployment = await bench.deploy()
    found: dict[str, list[float]] = {name: [] for name in (*commands(), FLOOR)}
    for number in range(runs + 1):
        for name, command in commands().items():
            seconds = await bench.run(command, deployment)
            if number:  # the first of each finds its files on the disk, the others in memory
                found[name].append(seconds)
        seconds = await bench.floor()
        if number:
            found[FLOOR].append(seconds)
    floor = found.pop(FLOOR)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    met = []
    for name, taken in found.items():
        words = f"a pod's run by `{name}`"
        met.append(
            figure(f"{words}, first line, against {FLOOR}", ours=taken, limit=floor, unit="s", goal="", peak_mb=peak)
        )
        is_ours = name == [*found][-1]
        met.append(
            figure(
                f"{words}, above that floor, against {ABOVE_FLOOR_SECONDS} s",
                ours=max(0.0, p50(taken) - p50(floor)),
                limit=ABOVE_FLOOR_SECONDS,
                unit="s",
                goal="<=1" if is_ours else "",
                peak_mb=peak,
            )
        )
    return all(met)


async def main(runs: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="bench-pod-") as name:
        folder = Path(name) / "lines"
        folder.mkdir()
        async with Stack(Path(name) / "stack", ports="free", parts=(*DATABASE_PARTS, "prefect")) as stack:
            wiring = stack.wiring
            async with httpx.AsyncClient(
                base_url=wiring.url("prefect"), headers=wiring.prefect_headers, trust_env=False, timeout=30
            ) as prefect:
                return await measure(Bench(stack, prefect, folder), runs)


if __name__ == "__main__":
    os.environ.pop("PREFECT_API_URL", None)
    sys.exit(exit_status(met=asyncio.run(main(**sizes_of(sys.argv[1:], SIZES)))))
