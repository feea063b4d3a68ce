"""The job types as Prefect has them deployed, and the strict check of a trigger's parameters against their schemas.

Prefect tells them while it is up; the table `job_types` keeps what it said, so that a shim that starts while Prefect
is down knows it too; memory answers the triggers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match
from pydantic import TypeAdapter

from api.errors import InvalidRequest, NotReady
from api.orchestrator import Deployment, Orchestrator
from flows.clients import database
from flows.core.prefect_yaml import Lasting, Stanza
from flows.core.redaction import redact

_deployments = TypeAdapter(list[Deployment])
_DEEPEST = 20
_COLUMNS = "job_type,deployment_id,description,parameter_schema"
_RENDERED = "__prefect_kind"


class Catalogue:
    def __init__(self, stanzas: Mapping[str, Stanza] = MappingProxyType({})) -> None:
        """`stanzas` is what prefect.yaml says of each job type."""
        self._stanzas = dict(stanzas)
        self._deployments: dict[str, Deployment] = {}
        self._kept: dict[str, Deployment] = {}
        self._loaded = False
        self.is_deployed = False
        """Whether Prefect had any of our deployments when it was last asked."""

    def get(self, job_type: str) -> Deployment | None:
        """The job type as it is deployed, or was when Prefect last told; None where it never was."""
        return self._deployments.get(job_type)

    def category(self, job_type: str) -> str | None:
        """What kind of work the job type is, None where nobody has said."""
        stanza = self._stanzas.get(job_type)
        return stanza.category if stanza else None

    def lasting(self, job_type: str) -> Lasting | None:
        """What the job type does that nobody can take back, None where it does no such thing."""
        stanza = self._stanzas.get(job_type)
        return stanza.lasting if stanza else None

    @property
    def was_deployed(self) -> bool:
        """Whether Prefect has ever had one."""
        return bool(self._kept)

    async def load_once(self) -> None:
        """Reads what the table has kept of types that Prefect has not told this process yet."""
        if self._loaded:
            return
        try:
            client = await database.client()
            answer = await client.table("job_types").select(_COLUMNS).execute()
        except database.CALL_ERRORS as error:
            raise database.translate("read job types", error) from error
        for kept in _deployments.validate_python(answer.data):
            self._kept[kept.job_type] = kept
            self._deployments.setdefault(kept.job_type, kept)
        self._loaded = True

    async def refresh(self, orchestrator: Orchestrator) -> None:
        """Takes over what Prefect has deployed, and keeps in the table what has changed."""
        told = {deployment.job_type: deployment for deployment in await orchestrator.deployments()}
        self.is_deployed = bool(told)
        self._deployments |= told
        changed = [deployment for deployment in told.values() if self._kept.get(deployment.job_type) != deployment]
        if changed:
            await _keep(changed)
            self._kept |= told

    def resolve(self, job_type: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters with every default filled in. Raises InvalidRequest saying what is wrong and what is valid."""
        refuse_unstorable(parameters, "parameters")
        deployment = self._deployments.get(job_type)
        if deployment is None:
            if not parameters:
                return {}
            raise NotReady(
                f"{job_type} has not been deployed yet, so its parameters cannot be checked: try again after"
                " `prefect deploy --all`, or without parameters"
            )
        schema = deployment.parameter_schema
        properties: dict[str, Any] = schema.get("properties", {})
        _refuse_unknown(job_type, parameters, properties)
        resolved = {name: one["default"] for name, one in properties.items() if "default" in one} | parameters
        validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        problems = sorted(validator.iter_errors(resolved), key=lambda problem: list(problem.path))
        details = [{"field": _path(one), "message": redact(one.message, limit=200)} for one in map(_inmost, problems)]
        details = details or list(_misfits(properties, resolved))
        if details:
            raise InvalidRequest(f"{details[0]['field']}: {details[0]['message']}", details=details[:20])
        return resolved


async def _keep(deployments: list[Deployment]) -> None:
    rows = [
        {
            "job_type": deployment.job_type,
            "deployment_id": str(deployment.deployment_id),
            "description": deployment.description,
            "parameter_schema": deployment.parameter_schema,
            "seen_at": datetime.now(UTC).isoformat(),
        }
        for deployment in deployments
    ]
    try:
        client = await database.client()
        await client.table("job_types").upsert(rows).execute()
    except database.CALL_ERRORS as error:
        raise database.translate("keep job types", error) from error


def _refuse_unknown(job_type: str, parameters: dict[str, Any], properties: dict[str, Any]) -> None:
    unknown = sorted(set(parameters) - set(properties))
    if unknown:
        valid = ", ".join(properties) or "none"
        raise InvalidRequest(
            f"{job_type} has no parameter {redact(unknown[0], limit=80)!r}: it takes {valid}",
            details=[
                {"field": f"parameters.{redact(name, limit=80)}", "message": "unknown parameter"}
                for name in unknown[:20]
            ],
        )


def _misfits(properties: dict[str, Any], resolved: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Parameters given or left out against their schema's `onlyWith`: another one, and what it must be for them."""
    for name, schema in properties.items():
        for variant in schema.get("anyOf", [schema]):
            for other, value in variant.get("onlyWith", {}).items():
                is_given, fits = resolved.get(name) is not None, resolved.get(other) == value
                if is_given != fits:
                    message = f"is only for {other} {value!r}" if is_given else f"is needed with {other} {value!r}"
                    yield {"field": f"parameters.{name}", "message": message}


def _inmost(problem: ValidationError) -> ValidationError:
    """What is wrong with a value that may also be left out, and not that it is none of the two."""
    return best_match([problem]) or problem


def _path(problem: ValidationError) -> str:
    return ".".join(["parameters", *(str(part) for part in problem.absolute_path)])


def refuse_unstorable(value: Any, where: str) -> None:
    """Raises InvalidRequest for what Postgres cannot keep, or what Prefect would render as a template."""
    for path, part in _parts(value, where, 0):
        if isinstance(part, float) and not math.isfinite(part):
            raise InvalidRequest(f"{path}: NaN and Infinity are not JSON numbers")
        if isinstance(part, str) and ("\0" in part or any("\ud800" <= char <= "\udfff" for char in part)):
            raise InvalidRequest(f"{path}: text may not hold NUL characters or lone surrogates")
        if part == _RENDERED:
            raise InvalidRequest(f"{path}: {_RENDERED} is not allowed, parameters are plain values")


def _parts(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Every key and every value inside, each with where it is."""
    if depth > _DEEPEST:
        raise InvalidRequest(f"{path}: nested deeper than {_DEEPEST} levels")
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield path, key
            yield from _parts(inner, f"{path}.{redact(key, limit=80)}", depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _parts(inner, f"{path}.{number}", depth + 1)
