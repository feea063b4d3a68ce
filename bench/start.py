"""How long a run takes from its trigger to its first line and to its end, on our worker and on Prefect's.

`python -m bench.start` (`--runs 50 --at-once 8 --memory-runs 200`). The process worker is measured as it comes and
tuned: polling each second, one interpreter a run instead of two. A trigger ends with a poke, as the dispatcher's does.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.workers.base import BaseWorker

from bench.figures import exit_status, figure, memory_mb, p50, peak_mb
from bench.trivial import trivial
from sandbox.stack import Stack

REPOSITORY = Path(__file__).parents[1]
TUNED = {"command": "python -m prefect.engine"}
POLLED_EACH_SECOND = {"PREFECT_WORKER_QUERY_SECONDS": "1"}
WARM_UP_RUNS = 3
_PATIENCE_SECONDS = 120.0


@dataclass
class Times:
    """Seconds from the trigger."""

    first_line: list[float] = field(default_factory=list)
    completed: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Kind:
    """A worker to be measured: its pool, how it is started."""

    name: str
    type: str
    variables: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


OURS = Kind("ours", "forkserver", settings=POLLED_EACH_SECOND)
LIMIT = Kind("tuned", "process", TUNED, POLLED_EACH_SECOND)
DEFAULT = Kind("default", "process")


class Bench:
    def __init__(self, stack: Stack, client: PrefectClient, folder: Path) -> None:
        self.stack = stack
        self.client = client
        self.folder = folder
        self.wake = folder / "wake"

    async def deploy(self, kind: Kind) -> UUID:
        worker = BaseWorker.get_worker_class_from_type(kind.type)
        if worker is None:
            raise SystemExit(f"no worker type {kind.type}")
        template = worker.get_default_base_job_template()
        await self.client.create_work_pool(WorkPoolCreate(name=kind.name, type=kind.type, base_job_template=template))
        return await self.client.create_deployment(
            flow_id=await self.client.create_flow(trivial),
            name=kind.name,
            entrypoint="bench.trivial.trivial",
            work_pool_name=kind.name,
            pull_steps=[],
            job_variables=kind.variables,
        )

    @asynccontextmanager
    async def worker(self, kind: Kind) -> AsyncIterator[int]:
        """A worker of the kind, ready; its process id."""
        command = [sys.executable, "-m", "worker"]
        if kind.type == "process":
            command[2:] = ["prefect", "worker", "start", "--type", "process", "--install-policy", "never"]
        environment = {
            **self.stack.wiring.base_environment(),
            **self.stack.wiring.prefect_client_environment(),
            **kind.settings,
            "PYTHONPATH": str(REPOSITORY),
            "WORKER_WAKE_SOCKET": str(self.wake),
        }
        log = self.folder / f"{kind.name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: ASYNC220  # it returns in a millisecond
                [*command, "--pool", kind.name, "--name", kind.name],
                env=environment,
                cwd=self.folder,
                stdout=output,
                stderr=output,
            )
        try:
            words = "The fork server is ready" if kind is OURS else " started!"
            await _until(lambda: words in log.read_text())
            yield process.pid
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, 40)
            process.kill()
            process.wait()

    def _new_file(self) -> Path:
        return Path(tempfile.mkstemp(dir=self.folder)[1])

    async def run(self, deployment: UUID, times: Times) -> None:
        """One run from its trigger to its end."""
        file = self._new_file()
        began = time.time()
        run = await self.client.create_flow_run_from_deployment(deployment, parameters={"file": str(file)})
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.sendto(b"1", str(self.wake))
        # Prefect is not asked while the run has not begun: the asking would slow down what is measured.
        await _until(lambda: file.stat().st_size > 0)
        times.first_line.append(float(file.read_text()) - began)
        while (found := await self.client.read_flow_run(run.id)).end_time is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        times.completed.append(found.end_time.timestamp() - began)

    async def measure(self, kind: Kind, deployment: UUID, runs: int, at_once: int) -> tuple[Times, Times]:
        """The runs alone, one after the other, and the same number several at once."""
        for _ in range(WARM_UP_RUNS):
            await self.run(deployment, Times())
        alone, together = Times(), Times()
        for _ in range(runs):
            await self.run(deployment, alone)
            await asyncio.sleep(0.2)
        for first in range(0, runs, at_once):
            several = min(at_once, runs - first)
            await asyncio.gather(*(self.run(deployment, together) for _ in range(several)))
        _say(f"{kind.name}: alone {p50(alone.first_line):.2f} s, {at_once} at once {p50(together.first_line):.2f} s")
        return alone, together


async def _until(question: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not question():
        if time.monotonic() > deadline:
            raise SystemExit("a run or a worker has not begun within two minutes")
        await asyncio.sleep(0.005)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def main(runs: int, at_once: int, memory_runs: int, kinds: Sequence[Kind]) -> bool:
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder:
        return await _measure(Path(folder), runs, at_once, memory_runs, kinds)


async def _measure(folder: Path, runs: int, at_once: int, memory_runs: int, kinds: Sequence[Kind]) -> bool:
    async with Stack(folder / "stack", ports="free", parts=("postgres", "prefect")) as stack:
        wiring = stack.wiring
        async with PrefectClient(wiring.url("prefect"), auth_string=wiring.prefect_auth_string) as client:
            bench = Bench(stack, client, folder)
            found: dict[str, tuple[Times, Times]] = {}
            met = []
            for kind in kinds:
                deployment = await bench.deploy(kind)
                async with bench.worker(kind) as pid:
                    if kind is OURS:
                        met += await _measure_memory(bench, deployment, pid, memory_runs)
                    found[kind.name] = await bench.measure(kind, deployment, runs, at_once)
                    if kind is OURS:
                        peak = sum(peak_mb(each) for each in (pid, *_fork_servers(pid)))
            met += _report(found, at_once, peak)
            return all(met)


def _report(found: dict[str, tuple[Times, Times]], at_once: int, peak: float) -> list[bool]:
    met = []
    alone, _ = found["ours"]
    for number, (name, goal) in enumerate((("alone", "<=0.15"), (f"{at_once} at once", "<=0.3"))):
        for what in ("first_line", "completed"):
            mine = getattr(found["ours"][number], what)
            words = f"{name}: trigger to {what.replace('_', ' ')}, p50"
            for kind, said in (("tuned", "process worker tuned"), ("default", "process worker")):
                if kind not in found:
                    continue
                wanted = goal if (what, kind) == ("first_line", "tuned") else ""
                limit = getattr(found[kind][number], what)
                met.append(figure(f"{words}, {said}", ours=mine, limit=limit, unit="s", goal=wanted, peak_mb=peak))
    mine = alone.first_line
    met.append(
        figure("alone: trigger to first line, p50, seconds", ours=mine, limit=0.4, unit="s", goal="<=1", peak_mb=peak)
    )
    return met


async def _measure_memory(bench: Bench, deployment: UUID, worker: int, runs: int) -> list[bool]:
    """Memory of worker and fork server after the runs, against what it was when the worker had done its first few."""
    for _ in range(WARM_UP_RUNS):
        await bench.run(deployment, Times())
    await asyncio.sleep(3)
    (server,) = _fork_servers(worker)
    before = {"worker": memory_mb(worker), "fork server": memory_mb(server)}
    times = Times()
    for _ in range(0, runs, 4):
        await asyncio.gather(*(bench.run(deployment, times) for _ in range(4)))
    await asyncio.sleep(3)
    after = {"worker": memory_mb(worker), "fork server": memory_mb(server)}
    return [
        figure(
            f"memory of the {who} after {runs} runs",
            ours=after[who],
            limit=before[who],
            unit="MB",
            goal="<=1.05",
            peak_mb=peak_mb(pid),
        )
        for who, pid in (("worker", worker), ("fork server", server))
    ]


def _fork_servers(worker: int) -> list[int]:
    """The children of the worker that lead no run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == worker and (entry / "cwd").readlink() == Path("/"):
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--memory-runs", type=int, default=200)
    parser.add_argument("--without-default", action="store_true", help="leave the process worker as it comes out")
    options = parser.parse_args()
    kinds = (OURS, LIMIT) if options.without_default else (OURS, LIMIT, DEFAULT)
    met = asyncio.run(main(options.runs, options.at_once, options.memory_runs, kinds))
    sys.exit(exit_status(met=met))
