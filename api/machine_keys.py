"""Keys of scripts, off unless MACHINE_KEYS names them: `python -m api.machine_keys <name>` makes one.

The setting holds the SHA-256 of each key and never the key: a key has 256 random bits, so that its digest tells
nothing, and whoever reads the environment or a dump of it holds nothing that opens a door.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Mapping

PREFIX = "sched_"
_KEY = re.compile(r"sched_[\w-]{43,128}", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9-]{1,39}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Digests that nobody has made from a key: too regular, or of what stands in examples.
_FEWEST_DIFFERENT_DIGITS = 8
_EXAMPLES = {
    hashlib.sha256(word).hexdigest() for word in (b"", b"\n", b"changeme", b"secret", b"password", b"key", b"test")
}


class MachineKeys:
    def __init__(self, digests: Mapping[str, str]) -> None:
        self._digests = dict(digests)

    def name_of(self, key: str) -> str | None:
        """Whose key it is, None where it is nobody's. Takes the same time whichever key it is most like."""
        if not _KEY.fullmatch(key):
            return None
        digest = hashlib.sha256(key.encode()).hexdigest()
        names = [name for name, known in self._digests.items() if hmac.compare_digest(known, digest)]
        return names[0] if names else None


def parse(setting: str) -> dict[str, str]:
    """Digests by name, of `name:sha256,name:sha256`. Raises ValueError saying what is wrong, never what was given."""
    digests: dict[str, str] = {}
    for number, part in enumerate(filter(None, (one.strip() for one in setting.split(","))), start=1):
        name, colon, digest = part.partition(":")
        where = f"entry {number}"
        if not colon or not _NAME.fullmatch(name):
            raise ValueError(
                f"{where} is not name:sha256, the name of 2-40 small letters, digits and dashes, a letter first"
            )
        if not _DIGEST.fullmatch(digest):
            raise ValueError(
                f"{where} does not hold the SHA-256 of a key, 64 small hexadecimal digits; the key itself does not"
                " belong here: make one with `python -m api.machine_keys <name>`"
            )
        if len(set(digest)) < _FEWEST_DIFFERENT_DIGITS or digest in _EXAMPLES:
            raise ValueError(f"{where} is a placeholder, not the SHA-256 of a key")
        if name in digests or digest in digests.values():
            raise ValueError(f"{where} repeats a name or a key")
        digests[name] = digest
    return digests


def make() -> tuple[str, str]:
    """A new key and its digest."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def main(arguments: list[str]) -> int:
    """Prints a new key, which is kept nowhere, and what to add to MACHINE_KEYS for it."""
    if len(arguments) != 1 or not _NAME.fullmatch(arguments[0]):
        sys.stderr.write("usage: python -m api.machine_keys <name of 2-40 small letters, digits and dashes>\n")
        return 2
    key, digest = make()
    sys.stdout.write(f"The script's key, shown once: {key}\nAdd to MACHINE_KEYS: {arguments[0]}:{digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
