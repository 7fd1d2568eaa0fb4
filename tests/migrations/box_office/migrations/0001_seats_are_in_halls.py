"""Seats are in halls; those of before are in hall A."""

from alembic import op
from sqlalchemy import Column, Integer, String

from colonnade.persistence.migrations import fill


def expand() -> None:
    """Version 0 goes on writing seats without a hall."""
    op.add_column("seats", Column("hall", String, nullable=False, server_default="A"))
    op.create_index("by_hall", "seats", ["hall", "number"])
    op.create_table("receipts", Column("seat", Integer, primary_key=True), Column("hall", String, nullable=False))
    op.create_index("receipts_of_hall", "receipts", ["hall"])
    fill("seats", "hall = 'A'", where="hall <> 'A' AND hall <> 'B'")
    op.alter_column("seats", "sold_to", nullable=True)


def contract() -> None:
    """Every seat has a hall of those that there are."""
    op.create_check_constraint("known_hall", "seats", "hall IN ('A', 'B')")
