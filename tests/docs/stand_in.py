"""A program of a cluster's operator without a cluster: `python stand_in.py kubectl get pods` notes that it was called.

Called as kubectl it runs what `exec` is to run, here and now, and answers from CLUSTER (the rendered manifests) and the
environment (the values of Secrets); everything else comes to nothing, quickly. Each call is a line of CALLS.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from pathlib import Path

_LONG = {"deploy": "deployment", "svc": "service"}


def main(program: str, words: list[str]) -> int:
    """Notes the call and answers it."""
    with Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(json.dumps({"program": program, "words": words, "keys": _keys(words)}) + "\n")
    if program == "kubectl":
        _answer([word for word in words if not word.startswith("--namespace=")])
    return 0


def _keys(words: list[str]) -> list[str]:
    """The keys of a Secret that is made of files, which may be gone when the call is looked at."""
    files = [word.partition("=")[2] for word in words if word.startswith("--from-env-file=")]
    return [line.partition("=")[0] for file in files for line in Path(file).read_text().splitlines() if line]


def _answer(words: list[str]) -> None:
    if "exec" in words and "--" in words:
        command = words[words.index("--") + 1 :]
        sys.stdout.flush()
        os.execvp(command[0], command)
    if found := re.search(r"\{\.data\.(\w+)\}", " ".join(words)):
        print(base64.b64encode(os.environ.get(found[1], "unset").encode()).decode(), end="")
    elif "logs" in words and "deploy/scheduler-service" in words:
        print(Path(os.environ["SHIM_LOG"]).read_text(errors="replace")[:100_000])
    elif "get" in words and "yaml" in words:
        kind, name = words[words.index("get") + 1 :][:2]
        print(json.loads(Path(os.environ["CLUSTER"]).read_text())[f"{_LONG.get(kind, kind)}/{name}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
