"""What a cluster holds that no overlay ships: the site's own ConfigMap and Secret, and ours with the passwords."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SECRETS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "stumbleable-secrets": frozenset({"CLERK_SECRET_KEY", "SUPABASE_URL", "SUPABASE_SERVICE_KEY"}),
        "scheduler-secrets": frozenset(
            {
                "DATABASE_URL",
                "PREFECT_DATABASE_URL",
                "PREFECT_API_AUTH_STRING",
                "CURSOR_SECRET",
                "MACHINE_KEYS",
                "SERVICE_TOKEN",
                "REDIS_PASSWORD",
            }
        ),
    }
)
CONFIG_MAPS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "stumbleable-config": frozenset(
            {"CRAWLER_SERVICE_URL", "EMAIL_SERVICE_URL", "USER_SERVICE_URL", "DISCOVERY_SERVICE_URL"}
        ),
    }
)
# Values that stand in for those secrets where settings are tried out: of the right form, and good for nothing.
TRIAL: Mapping[str, str] = MappingProxyType(
    {
        "CLERK_SECRET_KEY": "sk_of_nobody_at_all",
        "SUPABASE_URL": "https://project.supabase.co",
        "SUPABASE_SERVICE_KEY": "a-key-of-no-project-at-all",
        "PREFECT_API_AUTH_STRING": "admin:of-no-server",
    }
)
