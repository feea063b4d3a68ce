"""How long Prefect counts as having been there."""

from __future__ import annotations

from api.presence import Presence


def test_nobody_is_there_before_the_first_answer() -> None:
    presence = Presence()
    assert presence.seconds(100.0) == 0
    presence.failed(100.0)
    presence.answered(101.0)
    assert presence.seconds(131.0) == 30


def test_a_dropped_connection_does_not_start_the_time_anew() -> None:
    presence = Presence()
    presence.answered(0.0)
    presence.failed(50.0)
    assert presence.seconds(50.0) == 0
    presence.answered(52.0)
    assert presence.seconds(90.0) == 90


def test_an_outage_does() -> None:
    presence = Presence()
    presence.answered(0.0)
    for second in range(50, 70, 2):
        presence.failed(float(second))
    presence.answered(70.0)
    assert presence.seconds(90.0) == 20
