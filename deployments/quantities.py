"""Kubernetes' quantities: `250m` of a core, `512Mi` of memory."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?", re.ASCII)
_FACTORS: dict[str | None, Decimal] = {
    None: Decimal(1),
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGT", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGT", 1)},
}


def quantity(text: object) -> Decimal:
    """The amount in cores or bytes. Raises ValueError for what is no quantity, and for none at all."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is no quantity; valid are words like '250m', '1', '512Mi'")
    amount: Decimal = Decimal(found[1]) * _FACTORS[found[2]]
    if not amount:
        raise ValueError(f"{text!r} is nothing")
    return amount
