"""Into which slot a line of the inbox falls: what instances of a service divide among them."""

import zlib

__all__ = ["SLOTS", "slot_of"]

SLOTS = 16
"""Into how many slots the lines of a service fall by their keys. PostgreSQL computes them in `sql/tables.sql`."""


def slot_of(key: str) -> int:
    """The slot of a key, where the database does not compute it; an engine may have a function of its own."""
    return zlib.crc32(key.encode()) % SLOTS
