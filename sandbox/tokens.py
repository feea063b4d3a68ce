"""Session tokens for people at a terminal and for tests: the sandbox's admin and its plain user."""

from sandbox.standins import tokens
from sandbox.standins.people import ADMIN, PLAIN_USER
from sandbox.state import StateFolder


def mint(state: StateFolder, issuer: str, *, user: bool, expires_seconds: int) -> str:
    """A token that ends so many seconds from now; a negative number gives one that has ended."""
    person = PLAIN_USER if user else ADMIN
    return tokens.session_token(
        state.keys, issuer=issuer, clerk_user_id=person.clerk_user_id, lifetime_seconds=expires_seconds
    )
