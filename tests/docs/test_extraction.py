"""Commands are found wherever a page has them, and one that nobody tries is told of by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.answers import Answer, missing
from tests.docs.classes import classes_of
from tests.docs.commands import commands

PAGE = """\
# A page

Text with `make test`, a `word`, the bare `kubectl`, and a call that
goes on, `kubectl get
pods -l app=x`, in the next line.

    make up    # indented

| to | do |
|---|---|
| plant | `prefect frobnicate --all`, or `select 1 from a \\| b` |

1. An item, with a block of its own:

       curl http://localhost:7005/health \\
         -H "A: b"

   and a fence:

   ```bash
   # a comment
   cat >file <<END
   it's text
   END
   echo 'over
   two lines'; frobnicate
   ```

```sql
-- a comment; it's one
select 1;
select ';' as two
  from three;
```

```json
{"make": "up"}
```

```
a drawing ──▶ of boxes
```

    max by (job_type) (scheduler_jobs_queued)
"""
FOUND = [
    (3, "shell", "make test"),
    (4, "shell", "kubectl get pods -l app=x"),
    (7, "shell", "make up    # indented"),
    (11, "shell", "prefect frobnicate --all"),
    (11, "sql", "select 1 from a | b"),
    (15, "shell", 'curl http://localhost:7005/health \\\n  -H "A: b"'),
    (22, "shell", "cat >file <<END\nit's text\nEND"),
    (25, "shell", "echo 'over\ntwo lines'; frobnicate"),
    (31, "sql", "select 1"),
    (32, "sql", "select ';' as two\n  from three"),
    (44, "promql", "max by (job_type) (scheduler_jobs_queued)"),
]


def page(folder: Path, text: str) -> Path:
    (folder / "page.md").write_text(text, encoding="utf-8")
    return folder / "page.md"


def test_commands_are_found_with_their_lines(tmp_path: Path) -> None:
    found = commands(page(tmp_path, PAGE), tmp_path)
    assert [(command.line, command.kind, command.text) for command in found] == FOUND


@pytest.mark.parametrize(
    "planted",
    [
        "    frobnicate --all\n    make test",
        "```sh\nfrobnicate --all\n```",
        "Call `make frobnicate`.",
        "| do | `helm install frobnicate` |",
        "1. Item\n\n   ```console\n   $ frobnicate --all\n   ```",
        "    curl http://localhost:7005/health && frobnicate\n    sudo curl x",
        "Call `python -m frobnicate now`.",
    ],
)
def test_a_planted_command_that_nobody_tries_is_named(tmp_path: Path, planted: str) -> None:
    found = commands(page(tmp_path, f"# A page\n\n{planted}\n"), tmp_path)
    unknown = [command for command in found if len(classes_of(command)) != 1]
    assert len(unknown) == 1
    assert str(unknown[0]).startswith(f"page.md:{unknown[0].line}: ")


def test_a_command_without_an_end_is_no_command(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 4: a command has no end: echo 'begun"):
        commands(page(tmp_path, "# A page\n\n```sh\necho 'begun\n```\n"), tmp_path)


def test_an_answer_may_be_shortened_and_not_be_another() -> None:
    shown = Answer(1, "json", '{"jobs": [{"id": "a", ...}], "total": 2, "nextCursor": null, …}').body
    assert list(missing(shown, {"jobs": [{"id": "b", "x": 1}], "total": 3, "nextCursor": "c", "y": 2})) == []
    assert list(missing(shown, {"jobs": [{"x": 1}], "total": "3"})) == [
        "$.jobs[0].id is not there",
        "$.total is '3', and not like 2",
        "$.nextCursor is not there",
    ]
    error = Answer(1, "json", '{"code": "CONFLICT", "status": 409}')
    assert list(error.differences('{"code": "SCHEDULE_CHANGED", "status": 412}')) == [
        "status is 412, and not 409",
        "code is SCHEDULE_CHANGED, and not CONFLICT",
    ]
    assert Answer(1, "http", "HTTP/1.1 304 Not Modified\nETag: x").status == 304
    assert list(Answer(1, "http", "HTTP/1.1 304 x\nETag: x").differences("HTTP/1.1 200 OK\r\n\r\n{}")) == [
        "no header ETag: x",
        "HTTP/1.1 200 OK is not 304",
    ]
