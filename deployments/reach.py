"""What is wrong when Prefect cannot be asked, in a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from flows.core.redaction import redact

_NO_ADDRESS = (
    "PREFECT_API_URL is not set: it is the address of Prefect's API, like http://host:4200/api."
    ' For the sandbox\'s: eval "$(.venv/bin/python -m sandbox env)"'
)
_REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class PrefectUnreachable(Exception):
    """Prefect did not answer, or refused us; the message is for the person at the terminal."""


@contextmanager
def reaching_prefect(address: str | None) -> Iterator[None]:
    """Raises PrefectUnreachable where the address is missing or what is done inside does not reach Prefect there."""
    if not address:
        # Without one Prefect's client would start a server of its own, and all would go well on nobody's database.
        raise PrefectUnreachable(_NO_ADDRESS)
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise PrefectUnreachable(_refusal(redact(address), error.response)) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise PrefectUnreachable("PREFECT_API_URL is not an address like http://host:4200/api.") from error
    except httpx.TransportError as error:
        reason = redact(str(error)) or type(error).__name__
        raise PrefectUnreachable(
            f"Prefect does not answer at {redact(address)} ({reason}): is it running, and is PREFECT_API_URL right?"
        ) from error


def _refusal(address: str, answer: httpx.Response) -> str:
    if answer.status_code in _REFUSED:
        return (
            f"Prefect at {address} answers HTTP {answer.status_code}: set PREFECT_API_AUTH_STRING to what its server"
            " was started with (user:password)."
        )
    if "json" not in answer.headers.get("content-type", ""):
        return (
            f"What answers at {address} is not Prefect's API (HTTP {answer.status_code}):"
            " does PREFECT_API_URL end in /api?"
        )
    said = redact(" ".join(answer.text.split()), limit=300)
    return f"Prefect at {address} answers HTTP {answer.status_code}: {said or 'nothing more'}. Its log says why."
