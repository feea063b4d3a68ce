"""Every case; importing this registers them, in the order in which they take a lane."""

from tests.chaos.cases import by_hand, cancels, deaths, frozen, gate, outages, schedules, wipe

__all__ = ["by_hand", "cancels", "deaths", "frozen", "gate", "outages", "schedules", "wipe"]
