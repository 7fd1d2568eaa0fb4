"""A writer that has read how far the positions are, and takes its lock only when others have committed above it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from colonnade.persistence.store import Store

__all__ = ["stalled_at"]

# What `lock_positions` does, with what it had read
_LOCK = """
    SELECT pg_advisory_xact_lock_shared(
        'positions'::regclass::oid::bigint::bit(32)::integer, ($1::bigint)::bit(32)::integer
    )
"""


@asynccontextmanager
async def stalled_at(url: str, store: Store, position: int) -> AsyncIterator[None]:
    """In the block the horizon is back at `position`."""
    dialect: Any = store.dialect
    connection = await asyncpg.connect(url, server_settings={"search_path": dialect.tables_schema})
    try:
        await connection.execute("BEGIN")
        await connection.execute(_LOCK, position)
        yield
        await connection.execute("ROLLBACK")
    finally:
        await connection.close()
