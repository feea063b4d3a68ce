"""The programs of an operator beside kubectl: which of their verbs and flags the docs may use."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.state import REPOSITORY

_OTHERS = {
    ("docker", "build"): {"-t", "--tag", "--progress", "--build-arg", "-f", "--pull"},
    ("docker", "run"): {"--rm", "-e", "-p"},
    ("docker", "save"): {"-o"},
    ("kind", "load"): {"--name"},
    ("git", "checkout"): set(),
    ("git", "diff"): {"--stat"},
    ("git", "clone"): set(),
    ("k3s", "ctr"): set(),
}


def problems(name: str, words: list[str]) -> Iterator[str]:
    """What is wrong with a call of one of them."""
    verb = (name, words[0] if words else "")
    if verb not in _OTHERS:
        yield f"{' '.join(verb)} is not known here"
        return
    for word in words[1:]:
        if word.startswith("-") and len(word) > 1 and word != "--" and word.partition("=")[0] not in _OTHERS[verb]:
            yield f"{' '.join(verb)} with {word} is not known here"
    for path in words[words.index("--") + 1 :] if "--" in words else []:
        if not (REPOSITORY / path).exists():
            yield f"there is no {path}"
    if verb == ("docker", "build") and len(words) > 1 and not (REPOSITORY / words[-1] / "Dockerfile").exists():
        yield f"{words[-1]} has no Dockerfile"
