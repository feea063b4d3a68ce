"""Crawl claims once more in plain Python: which discovery is in whose hands, and how often it was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from tests.database.machine.rows import Job, Rows

MAX_ATTEMPTS = 3
DOUBT_SECONDS = 120


@dataclass(eq=False)
class Claim:
    job: Job
    fence: int
    round: int
    attempts: int = 0
    judged_round: int | None = None
    lost_at: int | None = None


@dataclass
class Crawl:
    """`pages` is every discovery, the oldest first, with its crawl_status."""

    rows: Rows
    pages: dict[UUID, str] = field(default_factory=dict)
    claims: dict[UUID, Claim] = field(default_factory=dict)

    def holds(self, claim: Claim) -> bool:
        """A claim lasts as long as its fence: until the job has ended, or another process has taken it."""
        return self.rows.fence_holds(claim.job, claim.fence)

    def may_act(self, job: Job, fence: int) -> bool:
        """Whether a call that claims or records is let through at all."""
        return self.rows.fence_holds(job, fence) and self.rows.lease_lives(job)

    def open(self) -> int:
        for page, claim in list(self.claims.items()):
            if not self.holds(claim) and (claim.attempts == 0 or self.pages[page] != "pending"):
                del self.claims[page]
        return len(self._free())

    def claim(self, job: Job, fence: int, limit: int, round_: int) -> list[UUID]:
        mine = [p for p in self.pages if (c := self.claims.get(p)) and self._is_of(c, job, fence) and c.round == round_]
        if mine:
            return mine
        taken = self._free()[:limit]
        for page in taken:
            before = self.claims.get(page)
            self.claims[page] = Claim(job, fence, round_, before.attempts if before else 0)
        return taken

    def settle(self, job: Job, fence: int, pages: Sequence[UUID], round_: int, *, answered: bool) -> dict[UUID, str]:
        return {page: self._settle(job, fence, page, round_, answered=answered) for page in pages}

    def _settle(self, job: Job, fence: int, page: UUID, round_: int, *, answered: bool) -> str:
        claim = self.claims.get(page)
        if claim is not None and not self._is_of(claim, job, fence):
            claim = None
        if self.pages[page] != "pending":
            if claim is not None:
                del self.claims[page]
            return "completed" if self.pages[page] == "completed" else "exhausted"
        if claim is None:
            return "released"
        if claim.judged_round == round_:
            return "retry"
        return self._judge(claim, page, round_, answered=answered)

    def _judge(self, claim: Claim, page: UUID, round_: int, *, answered: bool) -> str:
        now = self.rows.now
        if not answered and (claim.lost_at is None or now - claim.lost_at < DOUBT_SECONDS):
            claim.lost_at = now if claim.lost_at is None else claim.lost_at
            return "in_doubt"
        if claim.attempts + 1 >= MAX_ATTEMPTS:
            self.pages[page] = "failed"
            del self.claims[page]
            return "exhausted"
        claim.attempts, claim.judged_round, claim.lost_at = claim.attempts + 1, round_, None
        return "retry"

    def _free(self) -> list[UUID]:
        held = {page for page, claim in self.claims.items() if self.holds(claim)}
        return [page for page, status in self.pages.items() if status == "pending" and page not in held]

    @staticmethod
    def _is_of(claim: Claim, job: Job, fence: int) -> bool:
        return claim.job is job and claim.fence == fence
