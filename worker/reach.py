"""Whether the user that runs become can read the code they need."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path

import prefect

CODE = (Path(sys.prefix), Path(prefect.__file__).parent)
STANDARD_LIBRARY = (Path(sys.base_prefix),)


def out_of_reach(user: str, paths: tuple[Path, ...] = CODE) -> Path | None:
    """The first folder on the way to the code that `user` may not enter; None when all of it can be read.

    Raises KeyError for a user that does not exist.
    """
    entry = pwd.getpwnam(user)
    groups = set(os.getgrouplist(user, entry.pw_gid))
    for path in paths:
        for folder in (*reversed(path.resolve().parents), path.resolve()):
            if not _may_enter(folder, entry.pw_uid, groups):
                return folder
    return None


def _may_enter(folder: Path, uid: int, groups: set[int]) -> bool:
    """The kernel's rule for a folder without an access control list: the first class that fits decides."""
    found = folder.stat()
    if uid == 0:
        return True
    if found.st_uid == uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid in groups:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
