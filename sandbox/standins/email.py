"""A stand-in for the mail service: it queues mails and drains its queue, and never sends any.

Settings: DATABASE_URL; EMAIL_DRAIN_PER_MINUTE (default 600, 0 = never); EMAIL_HONOURS_IDEMPOTENCY=1 makes a repeated
`Idempotency-Key` answer the first mail's id, where the deployed service queues another mail.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.standins.mail_queue import Mail, MailQueue
from sandbox.standins.service import Environment, build_service, database_pool, json_body, required

_STRICT_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z0-9_'+-]+(\.[a-z0-9_'+-]+)*@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", re.IGNORECASE)
_UTC_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z")


def build(env: Environment) -> ASGIApp:
    database_url = required(env, "DATABASE_URL")
    per_minute = float(env.get("EMAIL_DRAIN_PER_MINUTE") or 600)
    honours_idempotency = env.get("EMAIL_HONOURS_IDEMPOTENCY") == "1"

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with database_pool(database_url) as pool:
            app.state.queue = MailQueue(pool)
            draining = asyncio.create_task(app.state.queue.drain(per_minute))
            yield
            draining.cancel()
            with suppress(asyncio.CancelledError):
                await draining

    async def send(request: Request) -> Response:
        mail = _mail(await json_body(request))
        if mail is None:
            return JSONResponse({"success": False, "error": "Invalid request data"}, status_code=400)
        key = request.headers.get("idempotency-key") if honours_idempotency else None
        try:
            email_id = await request.app.state.queue.add(mail, key)
        except asyncpg.PostgresError:
            return JSONResponse({"success": False, "error": "Failed to queue email"}, status_code=500)
        return JSONResponse(
            {"success": True, "emailId": str(email_id), "message": "Email queued successfully"}, status_code=201
        )

    return build_service(
        "email",
        [Route("/api/send", send, methods=["POST"])],
        lifespan=lifespan,
        received=lambda body: [str(body["userId"])],
    )


def _mail(body: Any) -> Mail | None:
    """The mail a request asks for, None when the real service would refuse it (which it does without saying why)."""
    if not isinstance(body, dict):
        return None
    user_id, email_type, address = (body.get(name) for name in ("userId", "emailType", "recipientEmail"))
    template_data, scheduled_at = body.get("templateData"), body.get("scheduledAt")
    if not (isinstance(user_id, str) and _STRICT_UUID.fullmatch(user_id)):
        return None
    if not (isinstance(address, str) and _ADDRESS.fullmatch(address)):
        return None
    if not (isinstance(email_type, str) and isinstance(template_data, dict)):
        return None
    if "scheduledAt" in body and not _is_utc_moment(scheduled_at):
        return None
    when = datetime.fromisoformat(scheduled_at) if scheduled_at else None
    return Mail(UUID(user_id), email_type, address, template_data, when)


def _is_utc_moment(value: Any) -> bool:
    if not isinstance(value, str) or not _UTC_MOMENT.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
