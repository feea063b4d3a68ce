from __future__ import annotations

import importlib.util

import pytest

from bench.parts import PARTS, Part, Size, chosen


def names(*only: str, size: Size = Size.USUAL) -> list[str]:
    return [part.name for part, _ in chosen(only, size)]


def test_each_part_is_known_by_one_name() -> None:
    assert len({part.name for part in PARTS}) == len(PARTS)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_benchmark_of_a_part_exists(part: Part) -> None:
    assert importlib.util.find_spec(part.module) is not None


def test_the_usual_run_leaves_large_histories_and_other_systems_out() -> None:
    usual = names()
    assert "history-100k" in usual
    assert not {"history-1m", "history-10m", "system-airflow"} & set(usual)


def test_a_full_run_and_a_tiny_one_have_every_part() -> None:
    assert names(size=Size.FULL) == names(size=Size.TINY) == [part.name for part in PARTS]


def test_a_full_run_takes_the_usual_sizes_where_there_are_no_larger_ones() -> None:
    for part, arguments in chosen([], Size.FULL):
        assert arguments == (part.full or part.usual)


@pytest.mark.parametrize(
    ("only", "found"),
    [
        (["trigger"], ["api"]),
        (["history"], ["history-100k", "history-1m", "history-10m"]),
        (["history-1m"], ["history-1m"]),  # and not what begins alike
        (["digest", "api"], ["api", "digest"]),  # in the order of the parts
        (["airflow"], ["system-airflow"]),
    ],
)
def test_only_names_one_part_or_all_that_begin_with_it(only: list[str], found: list[str]) -> None:
    assert names(*only, size=Size.FULL) == found


@pytest.mark.parametrize("name", ["histor", "nothing", "airflow"])
def test_a_name_that_is_no_part_of_the_run_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(SystemExit, match=f"'{name}' is no part of a usual run.*history-100k"):
        names(name)
