"""What becomes of a mail whose call failed, when a run stops, and what its result says."""

from __future__ import annotations

from uuid import uuid4

import pytest

from flows.core.deliveries import Claimed, Counts, Outcome
from flows.core.errors import (
    AnswerLost,
    EndpointAbsent,
    NeighbourFailed,
    NotFound,
    NotSent,
    RateLimited,
    Refused,
    SchedulerError,
    Unavailable,
)
from flows.core.mailing import Breaker, recorded, result

MAIL = Claimed(7, "weekly_digest:2026-W48:x", uuid4(), "weekly-trending", "mia@reader.example", "Mia", {})


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotSent("refused"), Outcome.UNSENT),
        (RateLimited("later", 60), Outcome.UNSENT),
        (Unavailable("503", "email"), Outcome.UNSENT),  # it took nothing on
        (EndpointAbsent("404"), Outcome.UNSENT),
        (Refused("401"), Outcome.UNSENT),  # of all mails, not of this one
        (Unavailable("504", "email", may_be_done=True), Outcome.LOST),
        (AnswerLost("closed"), Outcome.LOST),
        (NeighbourFailed("500"), Outcome.LOST),
        (Refused("400", for_its_content=True), Outcome.FAILED),
        (NotFound("no such user"), Outcome.FAILED),
    ],
)
def test_a_failed_call_is_recorded_as_what_may_have_happened(error: SchedulerError, outcome: Outcome) -> None:
    assert recorded(MAIL, error, can_settle=True).outcome is outcome


def test_a_failed_service_is_believed_where_nobody_could_tell_afterwards() -> None:
    told = recorded(MAIL, NeighbourFailed("email answered 500"), can_settle=False)
    assert (told.outcome, told.reason) == (Outcome.FAILED, "no answer: email answered 500")
    assert recorded(MAIL, AnswerLost("closed"), can_settle=False).outcome is Outcome.LOST


def test_reasons_carry_no_address() -> None:
    told = recorded(MAIL, Refused("mia@reader.example is no address", for_its_content=True), can_settle=True)
    assert "mia" not in (told.reason or "")


def test_the_breaker_opens_at_half_of_the_last_calls() -> None:
    breaker = Breaker()
    for _ in range(19):
        breaker.note(NotSent("email cannot be reached"))
    breaker.raise_if_open()  # too few to tell
    breaker.note(NotSent("email cannot be reached"))
    with pytest.raises(Unavailable, match="20 of the last 20 mails could not be handed over: email cannot be reached"):
        breaker.raise_if_open()
    assert not breaker.is_open


def test_the_breaker_stays_shut_while_most_calls_work() -> None:
    breaker = Breaker()
    for number in range(1000):
        breaker.note(AnswerLost("closed") if number % 5 < 2 else None)
    assert not breaker.is_open


def test_bad_mails_say_nothing_about_the_service() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker.note(Refused("400", for_its_content=True))
    assert not breaker.is_open


@pytest.mark.parametrize("error", [EndpointAbsent("404 Endpoint not found"), Refused("401")])
def test_a_wrong_address_opens_the_breaker_at_once(error: SchedulerError) -> None:
    breaker = Breaker()
    breaker.note(error)
    with pytest.raises(type(error)):
        breaker.raise_if_open()


def counts(**given: int) -> Counts:
    names = ("planned", "sending", "queued", "delivered", "failed", "skipped", "unknown", "unanswered")
    return Counts(**{name: given.get(name, 0) for name in names}, errors=[])


def test_some_failures_are_a_completed_job() -> None:
    told = result(counts(queued=90, delivered=10, failed=9, unknown=1, skipped=4, unanswered=1))
    assert (told.error, told.items_processed) == (None, 100)
    assert told.details == {
        "queued": 90,
        "delivered": 10,
        "failed": 9,
        "skipped": 4,
        "unknown": 1,
        "errorsTruncated": 10,
    }


@pytest.mark.parametrize(
    ("stand", "error"),
    [
        (counts(), None),  # nothing to do is done
        (counts(failed=3), None),  # bad mails only count
        (counts(failed=3, unanswered=2), "none of 3 items succeeded: the mail service gave no answer"),
        (counts(unknown=2, unanswered=2), "none of 2 items succeeded: the mail service gave no answer"),
    ],
)
def test_a_job_fails_where_the_service_let_it_down_altogether(stand: Counts, error: str | None) -> None:
    assert result(stand).error == error


def test_a_stopped_job_has_failed_and_says_that_the_rest_is_planned() -> None:
    told = result(counts(queued=5, planned=3), Unavailable("email answered 503", "email"))
    assert told.error == "stopped, the rest is left planned for the next run: email answered 503"
    assert told.details["leftPlanned"] == 3
