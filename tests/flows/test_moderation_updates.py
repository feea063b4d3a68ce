"""What a mail about a report says. What is planned is tested on the database, the sending on the whole stack."""

from __future__ import annotations

from uuid import uuid4

import pytest
from pydantic import ValidationError

from flows.core.deliveries import Claimed
from flows.core.events import template_data
from flows.moderation_updates import Parameters

DATA = {"contentTitle": "B", "contentUrl": "https://example.org/b", "reportReason": "spam", "outcome": "resolved"}


@pytest.mark.parametrize(("first_name", "greeting"), [("Mia", {"firstName": "Mia"}), (None, {})])
def test_the_mail_says_what_was_planned_and_greets_by_first_name(
    first_name: str | None, greeting: dict[str, str]
) -> None:
    mail = Claimed(1, "moderation_updates:x:resolved", uuid4(), "moderation-update", "a@b.example", first_name, DATA)
    assert template_data(mail) == {**DATA, **greeting}


@pytest.mark.parametrize("days", [0, 91])
def test_the_look_back_is_bounded(days: int) -> None:
    with pytest.raises(ValidationError):
        Parameters(look_back_days=days)
