"""The rules of the digest: which week, what is chosen for whom, what the mail shows, what a failing service means."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows import weekly_digest as digest
from flows.clients.discovery import Discovery
from flows.core.errors import EndpointAbsent, Unavailable
from flows.weekly_digest import (
    FEWEST,
    LONGEST_DESCRIPTION,
    MOST,
    TRENDING,
    Candidates,
    Parameters,
    Reader,
    candidates_from,
    choose,
    covers,
    domain_of,
    fetch_topics,
    fetch_trending,
    item_of,
    items_of,
    resolve_week,
    template_data,
)


def item(name: str, domain: str = "example.org") -> dict[str, Any]:
    return {"id": name, "url": f"https://{domain}/{name}", "title": name.upper(), "domain": domain}


def items(prefix: str, count: int, domain: str = "example.org") -> list[dict[str, Any]]:
    return [item(f"{prefix}{place}", domain) for place in range(count)]


def candidates(**stored: list[dict[str, Any]]) -> Candidates:
    """Topics by name; `trending` is what is trending."""
    return candidates_from({TRENDING if topic == "trending" else topic: found for topic, found in stored.items()})


def chosen(reader: Reader, of: Candidates) -> list[str]:
    return [candidate.id for candidate in choose(reader, of)]


# Which week


@pytest.mark.parametrize(
    ("at", "week"),
    [
        (datetime(2026, 11, 23, 0, 0, tzinfo=UTC), "2026-W48"),  # a Monday begins a week
        (datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC), "2026-W47"),  # the Sunday before ends one
        (datetime(2026, 12, 31, 12, 0, tzinfo=UTC), "2026-W53"),  # 2026 has 53 weeks
        (datetime(2027, 1, 3, 23, 59, tzinfo=UTC), "2026-W53"),  # whose last days are in January
        (datetime(2027, 1, 4, 9, 0, tzinfo=UTC), "2027-W01"),
        (datetime(2024, 12, 30, 9, 0, tzinfo=UTC), "2025-W01"),  # a year's first week may begin in December
        (datetime(2026, 11, 23, 1, 0, tzinfo=timezone(timedelta(hours=2))), "2026-W47"),  # Sunday still, in UTC
    ],
)
def test_the_week_is_that_of_the_scheduled_time_in_utc(at: datetime, week: str) -> None:
    assert resolve_week(Parameters(), at).week == week


def test_a_week_that_was_given_stays() -> None:
    given_ = Parameters(week="2026-W40", shards=3, active_within_days=90)
    assert resolve_week(given_, datetime(2026, 11, 23, tzinfo=UTC)) == given_


@pytest.mark.parametrize(
    ("week", "first", "last"),
    [
        ("2026-W48", date(2026, 11, 16), date(2026, 11, 22)),
        ("2027-W01", date(2026, 12, 28), date(2027, 1, 3)),  # the 53rd week of the year before
        ("2026-W53", date(2026, 12, 21), date(2026, 12, 27)),
        ("2026-W01", date(2025, 12, 22), date(2025, 12, 28)),
    ],
)
def test_a_digest_covers_the_monday_to_sunday_before_its_week(week: str, first: date, last: date) -> None:
    assert covers(week) == (first, last)


@given(st.datetimes(datetime(2020, 1, 6), datetime(2099, 12, 20), timezones=st.just(UTC)))  # noqa: DTZ001
def test_every_resolved_week_is_valid_and_covers_the_seven_days_before_its_monday(at: datetime) -> None:
    week = Parameters.model_validate({"week": resolve_week(Parameters(), at).week}).week
    assert week is not None
    first, last = covers(week)
    assert (first.isoweekday(), last.isoweekday(), (last - first).days) == (1, 7, 6)
    assert 1 <= (at.date() - last).days <= 7


@pytest.mark.parametrize("week", ["2026-W01", "2026-W53", "2020-W53", "2027-W52", "2099-W52"])
def test_real_weeks_are_taken(week: str) -> None:
    assert Parameters(week=week).week == week


@pytest.mark.parametrize(
    "week",
    [
        "2027-W53",
        "2026-W54",
        "2026-W00",
        "2026-W1",
        "2026-48",
        "2026W48",
        "26-W48",
        "next",
        "",
        "2026-W48\n",
        48,
        "1999-W01",
    ],
)
def test_what_is_no_week_is_refused(week: object) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate({"week": week})


def test_the_form_refuses_a_week_53_that_its_year_does_not_have() -> None:
    """The shim checks parameters by this schema alone."""
    schema = digest.weekly_digest.parameters.model_dump()["properties"]["week"]
    (pattern,) = [one["pattern"] for one in schema["anyOf"] if "pattern" in one]
    found = [year for year in range(2020, 2100) if re.search(pattern, f"{year}-W53")]
    assert found == [year for year in range(2020, 2100) if date(year, 12, 28).isocalendar().week == 53]


@pytest.mark.parametrize(
    "given_",
    [
        {"active_within_days": 0},
        {"active_within_days": 3651},
        {"shards": 0},
        {"shards": 17},
        {"dry_run": "perhaps"},
        {"weeks": "2026-W48"},
    ],
)
def test_parameters_are_bounded_and_known(given_: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(given_)


# What is chosen

SCIENCE, ART = items("s", 12), items("a", 12)
HOT = items("t", 12)


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        # One topic fills the mail by itself, in its order.
        (Reader(["science"]), "s0 s1 s2 s3 s4 s5 s6 s7 s8 s9"),
        # Two take turns, in the reader's order.
        (Reader(["art", "science"]), "a0 s0 a1 s1 a2 s2 a3 s3 a4 s4"),
        # A topic that is named twice gets no second turn.
        (Reader(["art", "science", "art"]), "a0 s0 a1 s1 a2 s2 a3 s3 a4 s4"),
        # What was seen is passed over, and its topic gives its next.
        (Reader(["art", "science"], seen=["a0", "a1", "s3"]), "a2 s0 a3 s1 a4 s2 a5 s4 a6 s5"),
        # Without a topic, or with one nobody knows: what is trending.
        (Reader(), "t0 t1 t2 t3 t4 t5 t6 t7 t8 t9"),
        (Reader(["knitting"]), "t0 t1 t2 t3 t4 t5 t6 t7 t8 t9"),
        # A topic that runs dry is topped up from what is trending.
        (Reader(["small"]), "x0 x1 t0 t1 t2 t3 t4 t5 t6 t7"),
        (Reader(["small", "art"], seen=["x1"]), "x0 a0 a1 a2 a3 a4 a5 a6 a7 a8"),
        # Five are enough for a mail, four are none.
        (Reader(seen=[f"t{place}" for place in range(7)]), "t7 t8 t9 t10 t11"),
        (Reader(seen=[f"t{place}" for place in range(8)]), ""),
        (Reader(["small"], seen=[f"t{place}" for place in range(10)]), ""),
    ],
)
def test_a_reader_gets_what_the_rules_say(reader: Reader, expected: str) -> None:
    there = candidates(science=SCIENCE, art=ART, small=items("x", 2), trending=HOT)
    assert chosen(reader, there) == expected.split()


def test_what_stands_under_two_topics_or_is_trending_too_comes_once() -> None:
    shared = items("b", 6)
    there = candidates(one=shared, two=[*shared, item("c0")], trending=[*shared, item("c0"), item("d0")])
    assert chosen(Reader(["one", "two"]), there) == ["b0", "b1", "b2", "b3", "b4", "b5", "c0", "d0"]


def test_nothing_at_all_gives_no_mail() -> None:
    assert choose(Reader(["science"]), candidates()) == []


@pytest.mark.parametrize(
    ("blocked", "domain", "is_blocked"),
    [
        ("example.org", "example.org", True),
        ("example.org", "blog.example.org", True),  # below it
        ("example.org", "a.b.example.org", True),
        ("EXAMPLE.org ", "Example.ORG", True),  # whatever the case
        ("www.example.org", "example.org", True),
        ("example.org", "www.example.org", True),
        ("https://example.org/page", "example.org", True),  # pasted from the address bar
        (".example.org", "blog.example.org", True),
        ("*.example.org", "blog.example.org", True),
        ("blog.example.org", "example.org", False),  # above it
        ("ample.org", "example.org", False),  # no part of a name
        ("example.com", "example.org", False),
        ("", "example.org", False),
        ("  ", "example.org", False),
    ],
)
def test_a_blocked_domain_blocks_itself_and_what_is_below_it(blocked: str, domain: str, is_blocked: bool) -> None:  # noqa: FBT001
    there = candidates(trending=[item("it", domain), *items("t", 5, "elsewhere.net")])
    assert ("it" not in chosen(Reader(blocked_domains=[blocked]), there)) is is_blocked


def test_a_page_is_blocked_by_its_address_too_whatever_its_domain_is_said_to_be() -> None:
    lying = {**item("it", "blocked.org"), "domain": "fine.net"}
    there = candidates(trending=[lying, *items("t", 5, "elsewhere.net")])
    assert "it" not in chosen(Reader(blocked_domains=["blocked.org"]), there)


NAMES = [f"n{number}" for number in range(30)]
DOMAINS = ["one.org", "sub.one.org", "two.net", "WWW.three.com"]
TOPICS = ["science", "art", "music"]
_domain_of_name = {name: DOMAINS[number % len(DOMAINS)] for number, name in enumerate(NAMES)}
_lists = st.lists(st.sampled_from(NAMES), unique=True, max_size=20).map(
    lambda names: [item(name, _domain_of_name[name]) for name in names]
)
_stored = st.dictionaries(st.sampled_from([TRENDING, *TOPICS]), _lists)
_readers = st.builds(
    Reader,
    topics=st.lists(st.sampled_from([*TOPICS, "unknown"]), max_size=6),
    blocked_domains=st.lists(
        st.sampled_from(["one.org", "sub.one.org", "TWO.net", "three.com", "", "org.x"]), max_size=3
    ),
    seen=st.lists(st.sampled_from(NAMES), max_size=10),
)


@given(_readers, _stored)
def test_a_choice_keeps_every_rule(reader: Reader, stored: dict[str, list[dict[str, Any]]]) -> None:
    there = candidates_from(stored)
    names = chosen(reader, there)
    wanted = [topic for topic in dict.fromkeys(reader.topics) if topic in stored]
    blocked = [domain_of(domain) for domain in reader.blocked_domains if domain]

    def is_allowed(name: str) -> bool:
        domain = domain_of(_domain_of_name[name])
        return name not in reader.seen and not any(domain == one or domain.endswith(f".{one}") for one in blocked)

    by_topic = {topic: [one["id"] for one in stored[topic] if is_allowed(one["id"])] for topic in wanted}
    trending = [one["id"] for one in stored.get(TRENDING, []) if is_allowed(one["id"])]
    possible = {*itertools.chain.from_iterable(by_topic.values()), *trending}

    assert chosen(reader, candidates_from(stored)) == names  # the same for the same
    assert len(names) == len(set(names))
    assert all(name in possible for name in names)
    # As many as there are up to 10, none where there are less than 5.
    assert len(names) == (min(len(possible), MOST) if len(possible) >= FEWEST else 0)
    of_topics = [name for name in names if any(name in found for found in by_topic.values())]
    if len(of_topics) < len(names):
        # Something was topped up: the topics had no more.
        assert {*itertools.chain.from_iterable(by_topic.values())} == set(of_topics)
    # A topic that has something left was not passed over for another.
    left = {topic for topic, found in by_topic.items() if not set(found) <= set(names)}
    gave = {topic: sum(name in by_topic[topic] for name in names) for topic in left}
    for topic in left if names else ():
        assert gave[topic] >= len(of_topics) // len(by_topic)


# What the mail shows


def found(**fields: Any) -> Discovery:
    given_ = {"id": str(uuid4()), "url": "https://example.org/a", "title": "A", "domain": "example.org", **fields}
    return Discovery.model_validate(given_)


def test_an_item_has_what_the_template_shows_and_nothing_that_is_missing() -> None:
    full = found(
        id=str(UUID(int=7)),
        title=" A title ",
        description="Some\n words",
        image="https://example.org/a.png",
        topics=["art"],
        metrics={"likes_count": 3, "saves_count": 0, "shares_count": None, "views_count": 9},
        readingTime=3,
    )
    assert item_of(full) == {
        "id": str(UUID(int=7)),
        "url": "https://example.org/a",
        "title": "A title",
        "domain": "example.org",
        "description": "Some words",
        "image_url": "https://example.org/a.png",
        "topics": ["art"],
        "like_count": 3,
        "save_count": 0,
    }
    bare = found(domain=None, description=None, image="", topics=None, metrics=None, trendingScore=None)
    assert item_of(bare) == {"id": str(bare.id), "url": bare.url, "title": "A", "domain": "example.org"}


def test_a_long_description_is_cut() -> None:
    shown = item_of(found(description="word " * 1000))
    assert shown is not None
    assert len(shown["description"]) <= LONGEST_DESCRIPTION
    assert shown["description"].endswith("word…")


@pytest.mark.parametrize(
    "fields",
    [{"title": None}, {"title": "  "}, {"url": "javascript:alert(1)"}, {"url": "http://[bad"}, {"url": "/relative"}],
)
def test_what_cannot_be_shown_is_no_candidate(fields: dict[str, Any]) -> None:
    assert items_of([found(**fields)]) == []


def test_the_best_come_first_and_the_services_order_decides_between_equals() -> None:
    given_ = [
        found(title=title, trendingScore=score) for title, score in [("a", None), ("b", 0.2), ("c", 0.9), ("d", 0)]
    ]
    assert [one["title"] for one in items_of(given_)] == ["c", "b", "a", "d"]


def test_the_template_gets_the_week_and_the_items_and_a_name_where_there_is_one() -> None:
    there = candidates(trending=HOT)
    data = template_data("2026-W48", "Ada", there.trending[:2])
    assert orjson.loads(orjson.dumps(data)) == {
        "firstName": "Ada",
        "weekStart": "2026-11-16",
        "weekEnd": "2026-11-22",
        "discoveries": HOT[:2],
    }
    assert "firstName" not in template_data("2026-W48", None, there.trending[:2])


def test_a_candidate_under_several_topics_is_made_once() -> None:
    there = candidates(one=HOT, two=HOT, trending=HOT)
    assert there.by_topic["one"][0] is there.by_topic["two"][0] is there.trending[0]
    assert there.ids == [one["id"] for one in HOT]


# What a failing service means


class Service:
    """A discovery service that answers as it is told, by topic; None is what is trending."""

    def __init__(self) -> None:
        self.answers: dict[str | None, list[httpx.Response]] = {}
        self.asked: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        topic = request.url.params.get("topic")
        self.asked.append(topic)
        queued = self.answers.get(topic) or [page(f"{topic or 'hot'}-1")]
        answer = queued.pop(0) if len(queued) > 1 else queued[0]
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def page(*titles: str | None) -> httpx.Response:
    listed = [{"id": str(UUID(int=number)), "url": "https://a.org/", "title": t} for number, t in enumerate(titles)]
    return httpx.Response(200, json={"discoveries": listed})


def refusal(status: int, error: str = "no", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": error}, headers=headers)


@pytest.fixture
def service(neighbours: Callable[[Service], None], monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    neighbours(made)
    monkeypatch.setattr(digest, "TOPIC_WAITS_SECONDS", (0.0, 0.0, 0.0))
    return made


async def test_a_repeated_item_and_one_in_another_shape_are_left_out(service: Service) -> None:
    listed = [
        {"id": str(UUID(int=1)), "url": "https://a.org/1", "title": "one"},
        {"id": str(UUID(int=1)), "url": "https://a.org/1", "title": "one"},
        {"id": "no uuid", "url": "https://a.org/2", "title": "two"},
        None,
        {"id": str(UUID(int=3)), "url": "https://a.org/3", "title": "three", "metrics": None, "topics": None},
    ]
    service.answers[None] = [httpx.Response(200, json={"discoveries": listed, "count": 5})]
    assert [one["title"] for one in await fetch_trending.fn()] == ["one", "three"]


async def test_a_topic_that_fails_alone_is_left_out_and_told(service: Service) -> None:
    service.answers["bad"] = [refusal(400, "Invalid query parameters")]
    service.answers["broken"] = [refusal(500, "Internal server error")]
    service.answers["flaky"] = [refusal(503), refusal(503), page("flaky-1")]
    got, missed = await fetch_topics.fn(["art", "bad", "broken", "flaky"])
    assert {topic: [one["title"] for one in listed] for topic, listed in got.items()} == {
        "art": ["art-1"],
        "flaky": ["flaky-1"],
    }
    assert missed == {
        "bad": "discovery answered 400: Invalid query parameters",
        "broken": "discovery answered 500: Internal server error",
    }
    assert service.asked.count("flaky") == 3
    assert service.asked.count("broken") == 1


async def test_topics_that_all_fail_mean_that_the_service_is_down(service: Service) -> None:
    for topic in ("art", "science"):
        service.answers[topic] = [refusal(503)]
    with pytest.raises(Unavailable):
        await fetch_topics.fn(["art", "science"])


async def test_topics_that_the_service_does_not_take_are_their_own_fault(service: Service) -> None:
    for topic in ("art", "science"):
        service.answers[topic] = [refusal(400)]
    got, missed = await fetch_topics.fn(["art", "science"])
    assert (got, sorted(missed)) == ({}, ["art", "science"])


async def test_an_absent_endpoint_is_a_mistake_of_configuration(service: Service) -> None:
    for topic in ("art", "science"):
        service.answers[topic] = [refusal(404, "Endpoint not found")]
    with pytest.raises(EndpointAbsent):
        await fetch_topics.fn(["art", "science"])


async def test_a_limit_is_waited_out(service: Service) -> None:
    service.answers["art"] = [refusal(429, **{"retry-after": "1"}), page("art-1")]
    got, missed = await fetch_topics.fn(["art"])
    assert ([one["title"] for one in got["art"]], missed) == (["art-1"], {})
    assert service.asked == ["art", "art"]


async def test_what_is_trending_raises_what_the_service_failed_with(service: Service) -> None:
    service.answers[None] = [refusal(503)]
    with pytest.raises(Unavailable):
        await fetch_trending.fn()
