"""A trigger's parameters against the schema that a job type is deployed with: what is wrong is said at once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from api.catalogue import Catalogue
from api.errors import InvalidRequest
from api.orchestrator import Deployment
from flows.crawl_pending import crawl_pending

ONE = str(UUID(int=7))


@pytest.fixture
def catalogue() -> Catalogue:
    made = Catalogue()
    schema = crawl_pending.parameters.model_dump_for_openapi()
    made._deployments["crawl_pending"] = Deployment("crawl_pending", UUID(int=1), None, schema)
    return made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "all"}, "parameters.mode: 'all' is not one of ['pending', 'stale', 'refresh']"),
        ({"mode": "stale"}, "parameters.older_than_days: is needed with mode 'stale'"),
        ({"older_than_days": 30}, "parameters.older_than_days: is only for mode 'stale'"),
        (
            {"mode": "refresh", "ids": [ONE], "older_than_days": 3},
            "parameters.older_than_days: is only for mode 'stale'",
        ),
        ({"mode": "stale", "older_than_days": 0}, "parameters.older_than_days: 0 is less than the minimum of 1"),
        ({"mode": "refresh"}, "parameters.ids: is needed with mode 'refresh'"),
        ({"ids": [ONE]}, "parameters.ids: is only for mode 'refresh'"),
        ({"mode": "refresh", "ids": []}, "parameters.ids: [] should be non-empty"),
        ({"mode": "refresh", "ids": ["seven"]}, "parameters.ids.0: 'seven' is not a 'uuid'"),
        ({"mode": "refresh", "ids": [ONE], "days": 3}, "has no parameter 'days'"),
    ],
)
def test_what_is_wrong_is_said(catalogue: Catalogue, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        catalogue.resolve("crawl_pending", given)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"mode": "stale", "older_than_days": 30},
        {"mode": "refresh", "ids": [ONE]},
        {"mode": "pending", "older_than_days": None, "ids": None},
    ],
)
def test_what_fits_is_filled_in(catalogue: Catalogue, given: dict[str, Any]) -> None:
    defaults = {"mode": "pending", "max_items": 1000, "older_than_days": None, "ids": None}
    assert catalogue.resolve("crawl_pending", given) == defaults | given
