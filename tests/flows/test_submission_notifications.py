"""What a mail about a submission says. What is planned is tested on the database, the sending on the whole stack."""

from __future__ import annotations

from uuid import uuid4

import pytest
from pydantic import ValidationError

from flows.core.deliveries import Claimed
from flows.core.events import template_data
from flows.submission_notifications import Parameters


def mail(first_name: str | None) -> Claimed:
    data = {"submissionTitle": "A page", "submissionUrl": "https://example.org/a", "reason": "too short"}
    return Claimed(
        1, "submission_notifications:x:rejected", uuid4(), "submission-rejected", "a@b.example", first_name, data
    )


def test_the_reader_is_greeted_by_first_name() -> None:
    assert template_data(mail("Mia")) == {
        "submissionTitle": "A page",
        "submissionUrl": "https://example.org/a",
        "reason": "too short",
        "firstName": "Mia",
    }


def test_nobody_is_greeted_where_there_is_no_name() -> None:
    assert "firstName" not in template_data(mail(None))


@pytest.mark.parametrize("days", [0, 91])
def test_the_look_back_is_bounded(days: int) -> None:
    with pytest.raises(ValidationError):
        Parameters(look_back_days=days)
