"""Reads that are asked all day long, answered past FastAPI's dependencies: these cost as much as the question itself.

The route stays FastAPI's, with its description, its errors and its handler. What the quick way does not understand at
once it leaves to that handler, which also finds the words for what is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from api.runtime import Runtime

Quick: TypeAlias = Callable[[Request, Runtime], Coroutine[Any, Any, Response | None]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Awaitable[Any]])
Query = TypeVar("Query", bound=BaseModel)

_quick: dict[Callable[..., Any], Quick] = {}


def quickly(way: Quick) -> Callable[[Endpoint], Endpoint]:
    """Says how an endpoint of an AdminRoute is answered; None from `way` is "ask the endpoint"."""

    def noted(endpoint: Endpoint) -> Endpoint:
        _quick[endpoint] = way
        return endpoint

    return noted


def quick_of(endpoint: Callable[..., Any]) -> Quick | None:
    """The quick way of an endpoint."""
    return _quick.get(endpoint)


def plain(query: type[Query], given: QueryParams, lists: frozenset[str]) -> Query | None:
    """The query as FastAPI would read it, or None where it would say what is wrong with it, or choose."""
    fields: dict[str, Any] = {}
    for name, value in given.multi_items():
        if name in lists:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            return None
        else:
            fields[name] = value
    try:
        return query.model_validate(fields)
    except ValidationError:
        return None
