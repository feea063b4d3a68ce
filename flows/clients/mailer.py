"""The mail service: it queues one mail a call and delivers it later. Its answer says queued, never delivered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field

from flows.clients import http
from flows.core.settings import settings


@dataclass(frozen=True)
class Mail:
    """One mail to one user. `template_data` may hold `orjson.Fragment`s, written once and used in many mails."""

    user_id: UUID
    email_type: str
    recipient: str
    template_data: dict[str, Any]


class _Queued(BaseModel):
    model_config = ConfigDict(extra="ignore")

    email_id: UUID = Field(alias="emailId")


async def send(mail: Mail, *, idempotency_key: str) -> UUID:
    """Has the mail queued; returns its id in `email_queue`.

    After `AnswerLost`, and after a 500, 502 or 504, it may be queued or not. The key is sent always and honoured only
    by a mail service that knows it.
    """
    body = {
        "userId": str(mail.user_id),
        "emailType": mail.email_type,
        "recipientEmail": mail.recipient,
        "templateData": mail.template_data,
    }
    queued = await http.post_many(
        "email",
        f"{settings().email_service_url}/api/send",
        orjson.dumps(body),
        answer=_Queued,
        timeout_seconds=settings().email_timeout_seconds,
        idempotency_key=idempotency_key,
    )
    return queued.email_id
