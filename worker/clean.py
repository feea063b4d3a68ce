"""Each thing that a forked child must have of its own, one function for each."""

from __future__ import annotations

import ctypes
import os
import pwd
import random
import resource
import signal
import sys
import time
from collections.abc import Iterable, Mapping

from prefect import context
from prefect.logging.configuration import setup_logging

from worker.requests import MARK_VARIABLE, Limits

PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_MEGABYTE = 1 << 20
# After the soft limit's SIGXCPU a process has this long to say so, then it is killed.
_CPU_GRACE_SECONDS = 5
# Per run, or about the process that was forked: neither reaches code that was imported before.
_OF_NO_MODULE = ("PREFECT__", "WORKER_", "TRACEPARENT")


def prctl(option: int, value: int) -> None:
    """Raises OSError when the kernel refuses."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def own_session() -> None:
    """A session and process group of its own, and its orphans come to it, so that they are known as this run's."""
    os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def descriptors(stdout: int, stderr: int) -> None:
    """Nothing but 0, 1 and 2 stays open: no socket of the fork server, nothing another run could write to."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target, inheritable=True)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def signals() -> None:
    """As a fresh interpreter has them, with nothing blocked."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number not in {signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGPIPE}:
            try:
                signal.signal(number, signal.SIG_DFL)
            except OSError:  # the C library keeps two real-time signals for itself
                continue
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def enter_groups(files: Iterable[str]) -> None:
    """Moves this process into control groups; 0 stands for the one that writes."""
    for file in files:
        with open(file, "w", encoding="ascii") as members:  # noqa: PTH123
            members.write("0")


def limits(wanted: Limits) -> None:
    """The limits that the kernel keeps for each process. Those of the whole run are its control groups'."""
    if wanted.cpu_seconds is not None:
        _limit(resource.RLIMIT_CPU, wanted.cpu_seconds, wanted.cpu_seconds + _CPU_GRACE_SECONDS)
    if wanted.max_open_files is not None:
        _limit(resource.RLIMIT_NOFILE, wanted.max_open_files)
    if wanted.max_processes is not None:
        _limit(resource.RLIMIT_NPROC, wanted.max_processes)
    if wanted.memory_mb is not None:
        _limit(resource.RLIMIT_DATA, wanted.memory_mb * _MEGABYTE)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(what: int, soft: int, hard: int | None = None) -> None:
    ceiling = resource.getrlimit(what)[1]
    wanted = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        wanted = min(wanted, ceiling)
    resource.setrlimit(what, (min(soft, wanted), wanted))


def become_user(name: str, working_dir: str, environment: dict[str, str]) -> None:
    """Gives up root for good. Home and Prefect's own files move to the working directory, which is the user's."""
    entry = pwd.getpwnam(name)
    os.initgroups(name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    environment.update(HOME=working_dir, USER=name, LOGNAME=name)
    environment["PREFECT_HOME"] = os.path.join(working_dir, ".prefect")  # noqa: PTH118


def changed_for_modules(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """The variables that differ and may have been looked at when a module was imported."""
    differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return {name for name in differing if not name.startswith(_OF_NO_MODULE)}


def environment(wanted: Mapping[str, str], *, forget: Iterable[str]) -> None:
    """The run's environment, and nothing that was made from another one.

    Modules of the flows that were imported under a different environment are forgotten, and imported again when the
    run asks for them. Prefect's settings and logging are made anew when a variable of theirs differs.
    """
    changed = changed_for_modules(os.environ, wanted)
    mark = {name: os.environ[name] for name in (MARK_VARIABLE,) if name in os.environ}
    os.environ.clear()
    os.environ.update({**wanted, **mark})
    if not changed:
        return
    if "TZ" in changed:
        time.tzset()
    if "PYTHONPATH" in changed:
        added = [entry for entry in wanted.get("PYTHONPATH", "").split(os.pathsep) if entry]
        sys.path[:0] = [entry for entry in added if entry not in sys.path]
    for name in forget:
        sys.modules.pop(name, None)
    if any(name.startswith("PREFECT_") or name == "HOME" for name in changed):
        _prefect_settings()


def _prefect_settings() -> None:
    # Without the old ones Prefect finds its profiles by the environment, as it does in a new interpreter.
    vars(context)["GLOBAL_SETTINGS_CONTEXT"] = None
    context.refresh_global_settings_context()
    setup_logging(incremental=False)


def random_state() -> None:
    """A seed of its own. `secrets` and `uuid` ask the kernel each time."""
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()
