"""The state folder: what is kept between two starts, and the list of what runs now.

pgdata/          the database cluster
keys/            what the stand-ins keep (signing keys)
logs/<part>.log  one file a part
tmp/             the parts' temporary files; emptied at every start
secrets.json     0600: passwords and keys, made at the first start
state.json       0600: each part's pid, URL and log, and where keys and tokens come from
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError

REPOSITORY = Path(__file__).resolve().parent.parent


def default_folder() -> Path:
    return Path(os.environ.get("SANDBOX_STATE", REPOSITORY / ".sandbox")).absolute()


@dataclass(frozen=True, repr=False)
class Secrets:
    """Made at the first start and kept; the JWT secret signs the service key."""

    database_owner_password: str
    database_password: str
    authenticator_password: str
    jwt_secret: str
    prefect_password: str
    clerk_secret_key: str
    cursor_secret: str

    @classmethod
    def fresh(cls) -> "Secrets":
        made = {field.name: secrets.token_urlsafe(32) for field in fields(cls)}
        return cls(**made | {"clerk_secret_key": f"sk_test_{made['clerk_secret_key']}"})


class StateFolder:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def marker(self) -> str:
        """The value of SANDBOX_ID that every process of this sandbox carries in its environment."""
        return hashlib.sha256(str(self.path).encode()).hexdigest()[:16]

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def control_socket(self) -> Path:
        return self.path / "control.sock"

    @property
    def temporary(self) -> Path:
        """What the parts take for /tmp: Prefect keeps a folder there that another user's would be in the way of."""
        return self.path / "tmp"

    def log(self, part: str) -> Path:
        return self.path / "logs" / f"{part}.log"

    def create(self) -> None:
        for folder in (self.path, self.keys, self.temporary, self.path / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    def empty_temporary(self) -> None:
        """Remove what processes that were killed have left; only for who holds the lock."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(mode=0o700)

    def take_lock(self) -> bool:
        """Whether this process is now the one supervisor of the folder; the kernel frees the lock when it dies."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secrets(self) -> Secrets:
        """Those of the first start; what a newer version of us needs besides is made now."""
        path = self.path / "secrets.json"
        try:
            kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        except ValueError as error:
            raise SandboxError(f"{path} cannot be read: `python -m sandbox reset` begins anew.") from error
        complete = {name: kept.get(name, fresh) for name, fresh in asdict(Secrets.fresh()).items()}
        if complete != kept:
            self._write(path, complete)
        return Secrets(**complete)

    def write_state(self, state: dict[str, Any]) -> None:
        self._write(self.path / "state.json", state)

    def read_state(self) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads((self.path / "state.json").read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise SandboxError(
                f"{self.path / 'state.json'} cannot be read: `make down` ends what runs, and `make up` writes it anew."
            ) from error
        return state

    def remove_state(self) -> None:
        (self.path / "state.json").unlink(missing_ok=True)

    def _write(self, path: Path, value: dict[str, Any]) -> None:
        """Replace the file in one step; `mkstemp` creates it with mode 0600."""
        descriptor, name = tempfile.mkstemp(dir=self.path)
        with os.fdopen(descriptor, "w") as file:
            json.dump(value, file, indent=2)
            file.write("\n")
        Path(name).replace(path)
