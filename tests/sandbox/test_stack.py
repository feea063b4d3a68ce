import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sandbox import control
from sandbox.errors import SandboxError
from sandbox.ports import FIXED
from sandbox.process import MARKER, is_alive
from sandbox.stack import Stack
from sandbox.state import REPOSITORY, StateFolder


async def test_state_file_names_pid_url_and_log_and_holds_no_secret(tmp_path: Path) -> None:
    async with Stack(tmp_path, ports="free", parts=("site", "clerk")) as stack:
        path = tmp_path / "state.json"
        state = json.loads(path.read_text())
        site = state["parts"]["site"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (site["pid"], site["url"], site["status"]) == (stack.pid("site"), stack.wiring.url("site"), "ready")
        assert site["log"] == str(tmp_path / "logs" / "site.log")
        secrets = json.loads((tmp_path / "secrets.json").read_text()).values()
        assert not [secret for secret in (*secrets, stack.wiring.service_key) if secret in path.read_text()]
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


async def test_everything_has_ended_when_the_stack_is_left(tmp_path: Path) -> None:
    async with Stack(tmp_path, ports="free", parts=("site", "clerk")) as stack:
        pids = [stack.pid("site"), stack.pid("clerk")]
    assert not [pid for pid in pids if pid is None or is_alive(pid)]
    assert not (tmp_path / "state.json").exists()


async def test_secrets_and_keys_outlive_a_restart(tmp_path: Path) -> None:
    async with Stack(tmp_path, ports="free", parts=("clerk",)) as stack:
        first, token = stack.wiring.secrets, stack.token()
    async with Stack(tmp_path, ports="free", parts=("clerk",)) as stack:
        assert stack.wiring.secrets == first
        assert token
        assert stack.wiring.service_key


async def test_a_stopped_part_starts_again_under_the_supervisor(tmp_path: Path) -> None:
    async with Stack(tmp_path, ports="free", parts=("site",)) as stack:
        await stack.stop("site")
        assert not stack.is_running("site")
        await stack.start("site")
        assert stack.is_running("site")
        assert stack.died.empty()


async def test_a_part_that_dies_is_reported_with_the_way_it_ended(tmp_path: Path) -> None:
    async with Stack(tmp_path, ports="free", parts=("site",)) as stack:
        pid = stack.pid("site")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert "site died (killed by SIGKILL)" in await asyncio.wait_for(stack.died.get(), 5)


async def test_a_part_that_ends_at_its_start_is_reported_with_its_log(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.create()
    (state.keys / "clerk_signing_keys.json").write_text("not json")
    with pytest.raises(SandboxError, match=r"(?s)clerk ended at its start \(exit status 1\).*JSONDecodeError"):
        async with Stack(tmp_path, ports="free", parts=("clerk",)):
            pass


async def test_a_second_supervisor_of_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with Stack(tmp_path, ports="free", parts=("site",)):
        with pytest.raises(SandboxError, match=rf"runs already \(pid {os.getpid()}\); `make down` stops it"):
            async with Stack(tmp_path, ports="free", parts=("site",)):
                pass


async def test_a_port_that_is_taken_is_named_with_its_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr("sandbox.wiring.FIXED", {**FIXED, "site": port})
        taken = rf"(?s)Port {port}, which site needs, is taken by pid {os.getpid()} .*; PORTS=free takes others"
        with pytest.raises(SandboxError, match=taken):
            async with Stack(tmp_path, ports="fixed", parts=("site",)):
                pass


def test_ports_that_are_neither_fixed_nor_free_are_refused(tmp_path: Path) -> None:
    done = _command(tmp_path, "up", "--ports", "any")
    assert (done.returncode, done.stderr) == (1, "sandbox: PORTS is 'any'; it can be fixed or free.\n")


async def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.stack._MINIMUM_FREE_BYTES", 10**18)
    with pytest.raises(SandboxError, match=r"Only \d+ MB are free"):
        async with Stack(tmp_path, ports="free", parts=("site",)):
            pass


async def test_leftovers_of_a_killed_supervisor_are_ended_at_the_next_start(tmp_path: Path) -> None:
    left = _leave_behind(tmp_path)
    async with Stack(tmp_path, ports="free", parts=("site",)):
        assert left.wait(5) == -signal.SIGTERM


def test_down_ends_what_a_killed_supervisor_has_left(tmp_path: Path) -> None:
    left = _leave_behind(tmp_path)
    assert _command(tmp_path, "down").stdout == "Ended 1 processes that a killed sandbox had left.\n"
    assert left.wait(5) == -signal.SIGTERM
    assert _command(tmp_path, "down").stdout == "Nothing is running.\n"


async def test_commands_reach_a_supervisor_in_a_folder_too_deep_for_a_socket_address(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120) / "state"
    async with Stack(folder, ports="free", parts=("site",)) as stack:
        done = await asyncio.to_thread(_command, folder, "kill", "site")
        assert (done.stdout, done.stderr) == ("site is killed\n", "")
        assert not stack.is_running("site")
        done = await asyncio.to_thread(_command, folder, "start", "site")
        assert done.stdout.startswith("site is ready after ")
        done = await asyncio.to_thread(_command, folder, "start", "shim")
        assert done.stderr == "sandbox: There is no part 'shim'; the parts are site.\n"


async def test_faults_are_switched_from_the_command_line(tmp_path: Path) -> None:
    async with Stack(tmp_path, ports="free", parts=("site",)) as stack:
        await asyncio.to_thread(_command, tmp_path, "faults", "set", "site", "500", "--times", "1")
        async with httpx.AsyncClient(base_url=stack.wiring.url("site"), trust_env=False) as http:
            assert (await http.get("/__faults")).json()["fault"] == "500"
            await asyncio.to_thread(_command, tmp_path, "faults", "clear", "site")
            assert (await http.get("/__faults")).json()["fault"] is None


def test_no_supervisor_answers_where_none_is(tmp_path: Path) -> None:
    assert control.call(tmp_path / "control.sock", {"do": "down"}) is None


# The variable set, and the sentence that asks for its companion.
@pytest.mark.parametrize(
    ("presets", "sentence"),
    [
        ({"SUPABASE_URL": "https://x.example"}, "SUPABASE_URL is set, so DATABASE_URL"),
        ({"CLERK_API_URL": "https://x.example"}, "CLERK_API_URL is set, so CLERK_SECRET_KEY"),
    ],
)
async def test_a_preset_without_its_companion_is_refused(
    tmp_path: Path, presets: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SandboxError, match=sentence):
        async with Stack(tmp_path, ports="free", parts=("site",), presets=presets):
            pass


async def test_a_preset_service_is_not_started(tmp_path: Path) -> None:
    presets = {"EMAIL_SERVICE_URL": "http://127.0.0.1:9/"}
    async with Stack(tmp_path, ports="free", parts=("site", "email"), presets=presets) as stack:
        assert stack.part_names == ["site"]
        assert stack.wiring.flow_environment()["EMAIL_SERVICE_URL"] == "http://127.0.0.1:9"
        with pytest.raises(SandboxError, match="email is not ours: EMAIL_SERVICE_URL names another"):
            await stack.stop("email")


def _leave_behind(folder: Path) -> subprocess.Popen[bytes]:
    state = StateFolder(folder)
    state.create()
    return subprocess.Popen(["sleep", "60"], env={**os.environ, MARKER: state.marker})


def _command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox", "--state", str(folder), *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
