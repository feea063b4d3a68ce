"""The two people who can sign in to the sandbox: what Clerk, the user service and the seed data agree on."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Person:
    user_id: UUID
    clerk_user_id: str
    email: str
    username: str
    full_name: str
    role: str


ADMIN = Person(
    user_id=UUID("6f1c9a34-52d7-4c1e-9b60-3d1f0a7be001"),
    clerk_user_id="user_2sandboxAdmin00000000001",
    email="ada.admin@stumbleable.example",
    username="ada",
    full_name="Ada Admin",
    role="admin",
)
PLAIN_USER = Person(
    user_id=UUID("6f1c9a34-52d7-4c1e-9b60-3d1f0a7be002"),
    clerk_user_id="user_2sandboxPlain00000000002",
    email="peter.plain@stumbleable.example",
    username="peter",
    full_name="Peter Plain",
    role="user",
)
SIGNED_UP = {person.clerk_user_id: person for person in (ADMIN, PLAIN_USER)}
