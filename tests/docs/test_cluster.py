"""What the docs may ask of a cluster: calls that could work pass, and planted mistakes are named."""

from __future__ import annotations

import shlex

import pytest

from tests.docs import kubectl, operators


@pytest.mark.parametrize(
    "call",
    [
        "-n stumbleable rollout status deployment/scheduler-service --timeout=5m",
        "apply -k k8s/overlays/production -l scheduler.stumbleable.com/apply=first",
        "get deploy,pods -l 'app in (prefect-server, prefect-services, scheduler-redis)' -o wide",
        "logs deploy/scheduler-worker --previous --tail=50",
        "delete pods -l app=scheduler-flow",
        "port-forward svc/prefect-server 4200:4200",
        "exec deploy/scheduler-service -- frobnicate --all",
        "get secret stumbleable-secrets -o jsonpath='{.data.SUPABASE_URL}'",
        "auth can-i create jobs.batch --as=system:serviceaccount:stumbleable:scheduler-worker",
    ],
)
def test_a_call_that_could_work_passes(call: str) -> None:
    assert list(kubectl.problems(shlex.split(call), [])) == []


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("frobnicate pods", "kubectl does not know it: "),
        ("rollout status deployment/scheduler-service --timeot=5m", "kubectl does not know it: "),
        ("-n elsewhere get pods", "there is no namespace elsewhere"),
        ("apply -k k8s/overlays/nowhere", "k8s/overlays/nowhere: kubectl cannot render it"),
        ("apply -k k8s/overlays/local -l app=nothing", "k8s/overlays/local has nothing with app=nothing"),
        ("get pods -l app=scheduler-servize", "nothing has app=scheduler-servize"),
        ("get pods -l 'app in (prefect-server, nobody)'", "nothing has app=nobody"),
        ("rollout undo deploy/scheduler-servize", "there is no deploy/scheduler-servize"),
        ("scale deployment/prefect-services statefulset/redis --replicas=1", "there is no statefulset/redis"),
        ("delete job scheduler-migrate scheduler-nothing", "there is no job/scheduler-nothing"),
        ("get frobs", "frobs is no kind"),
        ("delete pod scheduler-service-5d9c-x", "a pod scheduler-service-5d9c-x is not known beforehand"),
        ("port-forward svc/prefect-server 4200:80", "svc/prefect-server has no port 80, only [4200]"),
        ("get secret scheduler-secrets -o jsonpath='{.data.NOTHING}'", "no pod reads a key NOTHING of "),
        ("create secret generic scheduler-secrets --from-literal=PASWORD=x", "no pod reads a key PASWORD of "),
        (
            "auth can-i list pods --as=system:serviceaccount:stumbleable:me",
            "there is no service account stumbleable:me",
        ),
    ],
)
def test_a_planted_mistake_is_named(call: str, problem: str) -> None:
    (found,) = kubectl.problems(shlex.split(call), [])
    assert found.startswith(problem)


def test_a_key_that_no_pod_reads_is_named_also_where_it_comes_from_a_file() -> None:
    call = ["create", "secret", "generic", "scheduler-secrets", "--from-env-file=secrets.env"]
    assert list(kubectl.problems(call, ["DATABASE_URL", "REDIS_PASSWORD"])) == []
    assert list(kubectl.problems(call, ["DATABASE_URI"])) == [
        "no pod reads a key DATABASE_URI of ['scheduler-secrets']"
    ]


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("docker build -t x .", None),
        ("docker build -t x docs", "docs has no Dockerfile"),
        ("docker build --frob .", "docker build with --frob is not known here"),
        ("docker frobnicate", "docker frobnicate is not known here"),
        ("git diff --stat a main -- supabase/migrations", None),
        ("git diff --stat a main -- supabase/nothing", "there is no supabase/nothing"),
    ],
)
def test_other_programs_have_a_table(call: str, problem: str | None) -> None:
    name, *words = shlex.split(call)
    assert list(operators.problems(name, words)) == ([problem] if problem else [])
