"""`python -m api.describe`: the API's OpenAPI as JSON, from which the dashboard's client is generated."""

from __future__ import annotations

import json
import sys
from typing import Any

from api.main import create_api
from api.runtime import build_runtime
from api.settings import ShimSettings

# Nothing is asked or opened: these only have to be addresses and long enough.
_NOWHERE = "http://127.0.0.1:9"
_NO_SECRET = "description-needs-none"  # noqa: S105


def described() -> dict[str, Any]:
    """The OpenAPI document, whatever the environment says."""
    settings = ShimSettings.model_validate(
        {
            "supabase_url": _NOWHERE,
            "supabase_service_key": _NO_SECRET,
            "prefect_api_url": f"{_NOWHERE}/api",
            "clerk_secret_key": _NO_SECRET,
            "clerk_issuer": _NOWHERE,
        }
    )
    return create_api(build_runtime(settings)).openapi()


def text() -> str:
    """The document as it is kept in dashboard/openapi.json."""
    return json.dumps(described(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
