"""Tables with a hundred thousand rows."""

from collections.abc import Mapping, Sequence

import asyncpg

__all__ = ["ROWS", "changed_without_settings", "fill", "functions_never_called", "tables_of"]

ROWS = 100_000

# What a column holds in row g where nothing else is said, by its type
_VALUES = {
    "boolean": "false",
    "bytea": "'{}'::bytea",
    "integer": "g",
    "bigint": "g",
    "numeric": "g",
    "text": "'filler ' || g",
    "character varying": "'filler ' || g",
    "timestamp with time zone": "'2026-01-01Z'::timestamptz + g * interval '1 minute'",
    "uuid": "md5(g::text)::uuid",
    "jsonb": "'{}'::jsonb",
}


async def fill(
    connection: asyncpg.Connection, schema: str, tables: Mapping[str, Mapping[str, str]], rows: int = ROWS
) -> None:
    """Put `rows` rows into each of `tables`, whose columns hold what is said of them for row `g`; count them anew."""
    for table, values in tables.items():
        columns = await connection.fetch(
            "SELECT column_name, data_type, is_identity = 'YES' OR is_generated = 'ALWAYS' "
            "FROM information_schema.columns "
            "WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position",
            schema,
            table,
        )
        filled = {name: values.get(name, _VALUES.get(kind, "NULL")) for name, kind, made in columns if not made}
        assert filled, f"there is no table {table}"
        # A crash is not what is tested, and without a log it is filled in half the time
        await connection.execute(f'ALTER TABLE "{schema}"."{table}" SET UNLOGGED')
        names = ", ".join(f'"{name}"' for name in filled)
        await connection.execute(
            f'INSERT INTO "{schema}"."{table}" ({names}) SELECT {", ".join(filled.values())} '
            f"FROM generate_series(1, {rows}) AS g ON CONFLICT DO NOTHING"
        )
    for table in await tables_of(connection, schema):
        await connection.execute(f'ANALYZE "{schema}"."{table}"')


async def tables_of(connection: asyncpg.Connection, schema: str) -> Sequence[str]:
    """All tables of a schema."""
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", schema)
    return [table for (table,) in rows]


async def functions_never_called(connection: asyncpg.Connection, schema: str) -> Sequence[str]:
    """The functions of a schema that no statement has called, as far as the server has been told."""
    rows = await connection.fetch(
        "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "LEFT JOIN pg_stat_user_functions f ON f.funcid = p.oid WHERE n.nspname = $1 AND coalesce(f.calls, 0) = 0",
        schema,
    )
    return [name for (name,) in rows]


async def changed_without_settings(connection: asyncpg.Connection, schema: str) -> Sequence[str]:
    """The tables of a schema whose rows were updated or deleted, and that say nothing of how they are kept clean."""
    rows = await connection.fetch(
        "SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid "
        "WHERE s.schemaname = $1 AND s.n_tup_upd + s.n_tup_del > 0 AND c.reloptions IS NULL ORDER BY 1",
        schema,
    )
    return [table for (table,) in rows]
