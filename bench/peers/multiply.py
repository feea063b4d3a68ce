"""A long history: one row, as the system itself has written it, again and again with other ids and older times."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg


async def multiply(
    sql: asyncpg.Connection[asyncpg.Record], table: str, rows: int, *, where: str, changed: Mapping[str, str]
) -> None:
    """Adds so many copies of the first row `where`.

    `changed`: column to an expression in `n` (1 to `rows`) and the row `t`; all other columns are copied. Neither
    triggers nor foreign keys are looked at: the connection must be the cluster's owner's.
    """
    columns = [
        record[0]
        for record in await sql.fetch(
            "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0"
            " and not attisdropped and attgenerated = ''",
            table,
        )
    ]
    if unknown := changed.keys() - set(columns):
        raise ValueError(f"{table} has no column {', '.join(sorted(unknown))}")
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(changed.get(column) or f't."{column}"' for column in columns)
    async with sql.transaction():
        await sql.execute("set local session_replication_role = replica")
        await sql.execute(
            f"insert into {table} ({names}) overriding system value select {values}"
            f" from (select * from {table} where {where} limit 1) t, generate_series(1, {rows}) n"
        )
    await sql.execute(f"vacuum (analyze) {table}")


def older(column: str) -> str:
    """Each a minute before the one before it."""
    return f"t.\"{column}\" - n * interval '1 minute'"
