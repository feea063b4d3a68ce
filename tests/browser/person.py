"""What somebody in front of the dashboard does and sees, in words."""

from __future__ import annotations

from typing import Any

import httpx
from playwright.async_api import Page, expect

from sandbox.stack import Stack
from sandbox.standins.people import ADMIN


class Person:
    def __init__(self, page: Page, stack: Stack) -> None:
        self.page = page
        self.stack = stack

    async def open(self, path: str) -> None:
        await self.page.goto(path)

    async def sign_in(self, name: str = "Ada Admin") -> None:
        await self.page.get_by_role("button", name=f"Continue as {name}").click()
        await expect(self.page.get_by_role("button", name=f"Continue as {name}")).to_have_count(0)

    async def go_to(self, name: str) -> None:
        """Chooses the page of this name in the bar that leads to all of them."""
        await self.page.get_by_role("navigation", name="Scheduler").get_by_role("link", name=name).click()

    async def sign_in_service(self, method: str, path: str, body: Any = None) -> None:
        """A control of the stand-in that signs people in."""
        async with httpx.AsyncClient(base_url=self.stack.wiring.url("clerk"), trust_env=False) as http:
            (await http.request(method, path, json=body)).raise_for_status()

    async def pause(self, reason: str | None) -> None:
        """Pauses everything as another admin; None resumes it."""
        headers = {"Authorization": f"Bearer {self.stack.token()}"}
        async with httpx.AsyncClient(base_url=self.stack.wiring.url("shim"), headers=headers, trust_env=False) as http:
            change = {"paused": reason is not None, **({"reason": reason} if reason else {})}
            (await http.put("/api/maintenance", json=change)).raise_for_status()

    async def shorten_tokens(self, seconds: int | None) -> None:
        await self.sign_in_service("PUT", "/__sessions", {"tokenSeconds": seconds})

    async def end_sessions(self) -> None:
        await self.sign_in_service("DELETE", "/__sessions")

    async def set_role(self, role: str | None) -> None:
        metadata = {"role": role} if role else {}
        await self.sign_in_service("PUT", f"/__users/{ADMIN.clerk_user_id}", {"public_metadata": metadata})
