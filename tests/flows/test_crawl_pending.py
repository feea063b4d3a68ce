"""The rules of crawling: what is sent next, what a failed answer means, how a run's result is told."""

from __future__ import annotations

import re
from collections import deque
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from flows.core.crawling import (
    BREAKER_BATCHES,
    Crawl,
    Fate,
    Page,
    Walk,
    describe,
    fate_of,
    host_of,
    next_size,
)
from flows.core.errors import (
    AnswerLost,
    EndpointAbsent,
    NeighbourFailed,
    NotSent,
    RateLimited,
    Refused,
    Unavailable,
)
from flows.crawl_pending import Parameters, crawl_pending


def page(host: str = "example.org") -> Page:
    return Page(uuid4(), f"https://{host}/a?token=geheim")


def crawl(max_items: int = 1000) -> Crawl:
    return Crawl(max_items=max_items, total=10, started_at=0.0)


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (NotSent("x"), Fate.UNSENT),  # refused connection: nothing was asked
        (RateLimited("x", 60), Fate.UNSENT),  # it said come back later
        (Unavailable("x", "crawler"), Fate.UNSENT),  # 503: it took nothing on
        (Unavailable("x", "crawler", may_be_done=True), Fate.LOST),  # 502, 504: a gateway lost the answer
        (AnswerLost("x"), Fate.LOST),  # time-out, dropped connection
        (NeighbourFailed("x"), Fate.FAILED),  # 500, success: false, nonsense
        (Refused("x", for_its_content=True), Fate.REFUSED),  # 400, 422
        (Refused("x"), Fate.UNSENT),  # 401, 403: no page is to blame
        (EndpointAbsent("x"), Fate.UNSENT),  # wrong address in the settings
    ],
)
def test_a_failed_call_has_a_fate(error: Exception, fate: Fate) -> None:
    assert fate_of(error) is fate


def test_the_batch_halves_down_to_ten_and_grows_back_to_a_hundred() -> None:
    sizes = [100]
    for fate in [Fate.LOST] * 5 + [Fate.ANSWERED] * 5:
        sizes.append(next_size(sizes[-1], fate))
    assert sizes == [100, 50, 25, 12, 10, 10, 20, 40, 80, 100, 100]


def test_a_claim_never_exceeds_what_was_asked_for() -> None:
    run = crawl(max_items=130)
    assert run.room() == 100
    run.claimed = 100
    assert run.room() == 30


def test_an_unsettled_page_is_sent_again_later_and_not_at_once() -> None:
    run, one = crawl(), page()
    run.settle(one, "retry", None, now=100.0)
    assert run.due_again(100.0) == []
    assert run.due_again(105.1) == [one]
    run.settle(one, "retry", None, now=106.0)
    assert run.due_again(111.1) == []
    assert run.due_again(116.1) == [one]


def test_a_page_in_doubt_is_read_again_and_not_sent() -> None:
    run, one = crawl(), page()
    run.settle(one, "in_doubt", None, now=0.0)
    assert run.due_again(1000.0) == []
    assert run.in_doubt() == [one]
    run.settle(one, "completed", None, now=5.0)
    assert run.in_doubt() == []
    assert run.succeeded == 1


def test_batches_without_an_answer_open_the_breaker_and_an_answer_resets_it() -> None:
    run = crawl()
    for _ in range(BREAKER_BATCHES - 1):
        run.note_fate(Fate.LOST, "no answer", settled=False)
    run.note_fate(Fate.ANSWERED, "", settled=True)
    opened = []
    for _ in range(BREAKER_BATCHES):
        run.note_fate(Fate.FAILED, "500", settled=False)
        opened.append(run.stopped)
    assert opened == [False] * (BREAKER_BATCHES - 1) + [True]
    assert run.room() == 0


def test_lost_answers_whose_rows_were_settled_do_not_open_the_breaker() -> None:
    run = crawl()
    for _ in range(BREAKER_BATCHES + 1):
        run.note_fate(Fate.LOST, "no answer", settled=True)
    assert not run.stopped
    assert run.size == 10


def test_a_crawler_that_took_nothing_on_is_left_alone_at_once() -> None:
    run = crawl()
    run.note_fate(Fate.UNSENT, "refused", settled=False)
    assert run.stopped


def test_result_counts_each_page_once() -> None:
    run = crawl()
    good, gone, stuck = page(), page(), page()
    run.settle(good, "completed", None, 1.0)
    run.settle(gone, "failed", "HTTP 404", 1.0)
    run.settle(stuck, "retry", None, 1.0)
    run.settle(stuck, "exhausted", "not settled", 2.0)
    result = run.result(now=45.4).to_json()
    assert result["success"] is True
    assert result["itemsProcessed"] == 3
    assert result["details"] == {"successfulCrawls": 1, "failedCrawls": 2, "duration": "45s"}
    assert len(result["errors"]) == 2


def test_a_run_without_a_page_is_completed() -> None:
    assert crawl().result(now=1.0).error is None


def test_pages_bad_in_themselves_do_not_fail_the_job() -> None:
    run = crawl()
    run.settle(page(), "failed", "HTTP 404", 1.0)
    assert run.result(now=1.0).error is None


def test_a_run_that_got_nothing_done_for_the_crawlers_sake_is_failed() -> None:
    run = crawl()
    run.settle(page(), "failed", "HTTP 404", 1.0)
    run.note_fate(Fate.UNSENT, "crawler cannot be reached", settled=False)
    run.leave([page(), page()])
    result = run.result(now=1.0)
    assert result.error == "none of 3 items succeeded: crawler cannot be reached"
    assert result.to_json()["success"] is False
    assert result.details["leftPending"] == 2


def test_one_success_makes_the_job_completed() -> None:
    run = crawl()
    run.settle(page(), "completed", None, 1.0)
    run.note_fate(Fate.UNSENT, "crawler cannot be reached", settled=False)
    run.leave([page()])
    assert run.result(now=1.0).error is None


def test_an_error_entry_names_host_and_id_and_no_address() -> None:
    one = Page(UUID(int=7), "https://user:pw@example.org/p?token=geheim#x")
    text = describe(one, "GET https://example.org/p?token=geheim failed, write to a.b@example.org")
    assert text == f"example.org ({UUID(int=7)}): GET https://example.org/p failed, write to <address>"


@pytest.mark.parametrize(
    "url", ["http://[bad/x", "ftp://example.org/a", "javascript:alert(1)", "", "http://", "http://[notip]/"]
)
def test_what_is_no_web_address_is_told_without_it(url: str) -> None:
    assert host_of(url) is None
    assert describe(Page(UUID(int=7), url), "no") == f"unknown host ({UUID(int=7)}): no"


ONE = str(UUID(int=7))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_items": 0}, "greater than or equal to 1"),
        ({"max_items": 10_001}, "less than or equal to 10000"),
        ({"max_items": "many"}, "valid integer"),
        ({"items": 5}, "Extra inputs are not permitted"),
        ({"mode": "all"}, "'pending', 'stale' or 'refresh'"),
        ({"mode": "stale"}, "mode 'stale' needs older_than_days"),  # how old is for the caller to say
        ({"mode": "stale", "older_than_days": 0}, "greater than or equal to 1"),  # would be every page, again and again
        ({"mode": "stale", "older_than_days": 3651}, "less than or equal to 3650"),
        ({"mode": "stale", "older_than_days": 30, "ids": [ONE]}, "ids is for mode 'refresh' only, and mode is 'stale'"),
        ({"mode": "refresh"}, "mode 'refresh' needs ids"),
        ({"mode": "refresh", "ids": []}, "at least 1 item"),
        ({"mode": "refresh", "ids": [str(UUID(int=n)) for n in range(1001)]}, "at most 1000 items"),
        ({"mode": "refresh", "ids": ["7"]}, "valid UUID"),
        (
            {"mode": "refresh", "ids": [ONE], "older_than_days": 30},
            "older_than_days is for mode 'stale' only, and mode is 'refresh'",
        ),
        ({"older_than_days": 30}, "older_than_days is for mode 'stale' only, and mode is 'pending'"),
        ({"ids": [ONE]}, "ids is for mode 'refresh' only, and mode is 'pending'"),
    ],
)
def test_parameters_are_bounded_known_and_fit_the_mode(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        Parameters.model_validate(given)


def test_an_id_that_is_named_twice_is_crawled_once() -> None:
    assert Parameters.model_validate({"mode": "refresh", "ids": [ONE, ONE.upper()]}).ids == [UUID(ONE)]


def test_the_deployment_tells_the_bounds_of_every_parameter() -> None:
    properties = crawl_pending.parameters.model_dump()["properties"]
    assert properties["mode"]["enum"] == ["pending", "stale", "refresh"]
    number, nothing = properties["older_than_days"]["anyOf"]
    assert (number["minimum"], number["maximum"], nothing) == (1, 3650, {"type": "null"})
    listed, _ = properties["ids"]["anyOf"]
    assert (listed["minItems"], listed["maxItems"], listed["items"]["format"]) == (1, 1000, "uuid")


def again(*ids: UUID, walk: Walk | None = None) -> Crawl:
    """A run that crawls these pages again."""
    return Crawl(len(ids) or 1000, len(ids), 0.0, left_word="as it was", named=deque(ids), walk=walk)


def test_named_pages_are_claimed_a_batch_at_a_time() -> None:
    ids = [uuid4() for _ in range(130)]
    run = again(*ids)
    assert run.take_named() == ids[:100]
    run.claimed = 100
    assert run.take_named() == ids[100:]
    assert run.take_named() == []


def test_a_run_goes_on_while_its_walk_has_not_come_round() -> None:
    searching, round_once = again(walk=Walk()), again(walk=Walk(is_over=True))
    assert searching.goes_on
    assert searching.items_total is None, "nobody knows yet how many there are"
    assert not round_once.goes_on
    assert round_once.items_total == 0


def test_a_walk_ends_when_the_run_has_all_it_may_take() -> None:
    run = again(walk=Walk())
    run.claimed = 1000
    assert not run.goes_on
    assert run.items_total == 1000


def test_a_run_whose_crawler_is_gone_leaves_what_it_was_to_crawl_again_as_it_was() -> None:
    ids = [uuid4() for _ in range(3)]
    run = again(*ids)
    first = run.named.popleft()
    run.note_fate(Fate.UNSENT, "crawler cannot be reached", settled=False)
    run.leave([Page(first, "https://example.org/a")])
    assert not run.goes_on
    result = run.result(now=1.0)
    assert result.details["leftAsTheyWere"] == 3
    assert "leftPending" not in result.details
    assert result.errors == [f"example.org ({first}): left as it was: crawler cannot be reached"]


def test_a_named_page_that_there_is_not_is_a_failed_item_of_its_own_making() -> None:
    run = again(UUID(int=7))
    run.take_named()
    run.miss(UUID(int=7))
    result = run.result(now=1.0)
    assert result.error is None
    assert (result.items_processed, result.errors) == (
        1,
        [f"{UUID(int=7)}: there is no such discovery, or it is deleted"],
    )
