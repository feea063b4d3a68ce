"""Whether a call of kubectl could work: its verb and flags, and everything that it names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

from checks.kustomize import RenderError, rendered
from sandbox.debian import program
from sandbox.state import REPOSITORY
from tests.docs.cluster import find, keys_of, labelled

NAMESPACE = "stumbleable"
_KINDS = {
    **dict.fromkeys(("pod", "pods", "po"), "Pod"),
    **dict.fromkeys(("deploy", "deployment", "deployments"), "Deployment"),
    **dict.fromkeys(("svc", "service", "services", "endpoints"), "Service"),
    **dict.fromkeys(("job", "jobs", "job.batch"), "Job"),
    **dict.fromkeys(("secret", "secrets"), "Secret"),
    **dict.fromkeys(("configmap", "configmaps"), "ConfigMap"),
    **dict.fromkeys(("statefulset", "statefulsets"), "StatefulSet"),
    **dict.fromkeys(("namespace", "namespaces"), "Namespace"),
    "events": "Event",
}
# They take the next word as their value; in long form the docs write `--flag=value`.
_WITH_VALUE = {"-n", "-l", "-o", "-L", "-k", "-f", "-c"}
_TWO_WORDS = {"rollout", "create", "auth", "config", "top"}
# Of the site, and made by hand: no overlay for a real cluster has them.
_MADE_BY_HAND = {("Secret", "scheduler-secrets"), ("Secret", "stumbleable-secrets"), ("ConfigMap", "site-schema")}
_ANY_POD = re.compile(r"<pod>|a-pod")


def problems(words: list[str], keys: list[str]) -> Iterator[str]:
    """What is wrong with a call; `keys` are those of the files that a Secret is made of."""
    yield from _of_flags(words)
    yield from _of_names(words, keys)


def _of_flags(words: list[str]) -> Iterator[str]:
    """kubectl's own word on verb and flags: asked for its help, it has parsed both."""
    own = words[: words.index("--")] if "--" in words else words
    done = subprocess.run(
        [program("kubectl", "kubernetes-client"), *own, "--help"], capture_output=True, text=True, check=False
    )
    usage = re.search(r"^Usage:\n  kubectl ([a-z -]+)", done.stdout, re.MULTILINE)
    verb = next((word for word in _without_flags(own)), "")
    if done.returncode or usage is None or usage[1].split()[0] != verb:
        yield f"kubectl does not know it: {(done.stderr or done.stdout).strip().splitlines()[:1]}"


def _without_flags(words: list[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if not skip and not word.startswith("-"):
            kept.append(word)
        skip = word in _WITH_VALUE
    return kept


def _values(words: list[str], flag: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words[:-1]) if word == flag]


def _of_names(words: list[str], keys: list[str]) -> Iterator[str]:
    own = words[: words.index("--")] if "--" in words else words
    for namespace in (*_values(own, "-n"), *(w.partition("=")[2] for w in own if w.startswith("--namespace="))):
        if namespace != NAMESPACE:
            yield f"there is no namespace {namespace}"
    for folder in _values(own, "-k"):
        yield from _of_folder(folder, _values(own, "-l"))
    if not _values(own, "-k"):
        for selector in _values(own, "-l"):
            yield from _of_selector(selector)
    verb, *rest = _without_flags(own)
    yield from _of_objects(verb, rest)
    yield from _of_secret(own, rest, keys)


def _of_folder(folder: str, selectors: list[str]) -> Iterator[str]:
    try:
        objects = rendered(REPOSITORY, folder.rstrip("/"))
    except RenderError as error:
        yield str(error)
        return
    for selector in selectors:
        if not any(_fits(selector, one) for one in objects):
            yield f"{folder} has nothing with {selector}"


def _of_selector(selector: str) -> Iterator[str]:
    if not any(_fits(selector, one) for one in labelled()):
        yield f"nothing has {selector}"
    if found := re.fullmatch(r"app in \((.*)\)", selector):
        for name in found[1].split(", "):
            yield from _of_selector(f"app={name}")


def _fits(selector: str, manifest: Any) -> bool:
    labels = manifest.get("metadata", {}).get("labels") or {}
    if found := re.fullmatch(r"(\S+) in \((.*)\)", selector):
        return labels.get(found[1]) in found[2].split(", ")
    return all(labels.get(pair.partition("=")[0]) == pair.partition("=")[2] for pair in selector.split(","))


def _of_objects(verb: str, rest: list[str]) -> Iterator[str]:
    if verb in _TWO_WORDS:
        rest = rest[1:]
    if verb in ("create", "auth", "config", "top", "apply"):
        return
    kind = None
    for word in rest:
        if "/" in word:
            one, _, name = word.partition("/")
            yield from _of_object(one, name)
        elif kind is None and verb not in ("logs", "exec", "port-forward"):
            kind = word
            yield from (f"{one} is no kind" for one in word.split(",") if one not in _KINDS)
        elif verb == "port-forward":
            yield from _of_port(rest[0], int(word.rpartition(":")[2]))
        else:
            yield from _of_object(kind or "pod", word)


def _of_object(kind: str, name: str) -> Iterator[str]:
    full = _KINDS.get(kind)
    if full is None:
        yield f"{kind} is no kind"
    elif full == "Pod":
        if not _ANY_POD.fullmatch(name):
            yield f"a pod {name} is not known beforehand"
    elif (full, name) not in _MADE_BY_HAND and find(full, name) is None:
        yield f"there is no {kind}/{name}"


def _of_port(target: str, port: int) -> Iterator[str]:
    kind, _, name = target.partition("/")
    found = find(_KINDS[kind], name)
    ports = [one["port"] for one in found["spec"].get("ports", [])] if found else []
    if port not in ports:
        yield f"{target} has no port {port}, only {ports}"


def _of_secret(own: list[str], rest: list[str], keys: list[str]) -> Iterator[str]:
    """The keys that are read from a Secret, or put into one, are those that pods read."""
    told = [*keys, *(w.partition("=")[2].partition("=")[0] for w in own if w.startswith("--from-literal="))]
    told += re.findall(r"\{\.data\.(\w+)\}", " ".join(own))
    names = [word for word in rest if ("Secret", word) in _MADE_BY_HAND]
    for key in told:
        if not names or key not in keys_of(names[0]):
            yield f"no pod reads a key {key} of {names}"
    for namespace, name in re.findall(r"--as=system:serviceaccount:([\w-]*):([\w-]+)", " ".join(own)):
        if namespace != NAMESPACE or find("ServiceAccount", name) is None:
            yield f"there is no service account {namespace}:{name}"
