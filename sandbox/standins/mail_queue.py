"""The mail stand-in's queue: `email_queue` as the site has it, and beside it what that table has no column for."""

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from sandbox.standins.service import Pool

TICK_SECONDS = 0.5

# A schema of the stand-in's own: our code must never find a column here that the site's table lacks.
_BESIDE = """
create schema if not exists mail_standin;
create table if not exists mail_standin.mails (
  email_id uuid primary key references public.email_queue (id) on delete cascade,
  template_data jsonb not null,
  scheduled_at timestamptz,
  idempotency_key text unique
);
"""
_DELIVER = """
with due as (
  select q.id, q.user_id, q.email_type, m.template_data
  from email_queue q left join mail_standin.mails m on m.email_id = q.id
  where q.status = 'pending' and coalesce(m.scheduled_at, q.created_at) <= now()
  order by q.created_at limit $1 for update of q skip locked
), judged as (
  select due.id, case
    when due.email_type not in ('weekly-trending', 'weekly-new', 'welcome', 'saved-digest', 're-engagement',
      'submission-received', 'submission-approved', 'submission-rejected', 'moderation-update')
      then 'No template for this email type'
    when u.deleted_at is not null then 'User is deleted'
    when p.unsubscribed_all
      or (due.email_type = 'weekly-trending' and p.weekly_trending is not true)
      or (due.email_type = 'weekly-new' and p.weekly_new is not true)
      or (due.email_type like 'submission-%' and p.submission_updates is false)
      or (due.email_type = 'moderation-update' and p.account_notifications is false)
      then 'User opted out'
    when due.email_type = 'weekly-trending'
      and jsonb_typeof(due.template_data -> 'discoveries') is distinct from 'array'
      then 'Template rendering failed'
  end as refusal
  from due join users u on u.id = due.user_id left join email_preferences p on p.user_id = due.user_id
)
update email_queue q
set status = case when refusal is null then 'sent' else 'failed' end, error_message = refusal,
    sent_at = case when refusal is null then now() end, attempts = q.attempts + 1
from judged where judged.id = q.id
"""
_QUEUED_BY_KEY = "select email_id from mail_standin.mails where idempotency_key = $1"
# One statement: a digest hands over some hundred mails a second.
_QUEUE = """
with queued as (insert into email_queue (user_id, email_type, recipient_email) values ($1, $2, $3) returning id)
insert into mail_standin.mails select id, $4, $5, $6 from queued returning email_id
"""


@dataclass(frozen=True)
class Mail:
    user_id: UUID
    email_type: str
    recipient_email: str
    template_data: dict[str, Any]
    scheduled_at: datetime | None


class MailQueue:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._prepared = False
        self._preparing = asyncio.Lock()

    async def add(self, mail: Mail, idempotency_key: str | None) -> UUID:
        """The mail's id in `email_queue`: of a new row, or of the one that this key has already queued."""
        await self._prepare()
        values = (mail.user_id, mail.email_type, mail.recipient_email, json.dumps(mail.template_data))
        try:
            queued: UUID = await self._pool.fetchval(_QUEUE, *values, mail.scheduled_at, idempotency_key)
        except asyncpg.UniqueViolationError:
            # Whoever has the key had it before: the statement waits for one that is under way.
            queued = await self._pool.fetchval(_QUEUED_BY_KEY, idempotency_key)
        return queued

    async def drain(self, per_minute: float) -> None:
        """Deliver or fail what is due, oldest first, at this rate until cancelled; waits for an absent database."""
        allowed = 0.0
        while per_minute > 0:
            await asyncio.sleep(TICK_SECONDS)
            allowed = min(allowed + per_minute * TICK_SECONDS / 60, max(1.0, per_minute / 60))
            if allowed < 1:
                continue
            try:
                await self._prepare()
                done = await self._pool.execute(_DELIVER, int(allowed))
                allowed -= int(done.split()[-1])
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as unavailable:
                logging.getLogger("uvicorn.error").warning("mail queue not drained: %s", unavailable)

    async def _prepare(self) -> None:
        async with self._preparing:
            if not self._prepared:
                await self._pool.execute(_BESIDE)
                self._prepared = True
