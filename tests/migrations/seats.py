"""A service's own table in two versions of its code, and the migration between them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, Numeric, String, Table

from colonnade.persistence.migrations.line import SERVICE, Line
from colonnade.persistence.store import Store
from colonnade.persistence.tables.models import ReadModels
from colonnade.persistence.unit import Unit, Write
from colonnade.world import real_world
from tests.migrations.files import written

__all__ = ["BEFORE", "MIGRATION", "after", "models", "seats", "sold", "write"]

WORLD = real_world()

seats = Table(
    "seats",
    MetaData(),
    Column("letter", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("sold_to", String, nullable=False),
)
later_seats = Table(
    "seats",
    MetaData(),
    Column("letter", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("hall", String, nullable=False),
    Column("price", Numeric(8, 2), nullable=False, server_default="9.50"),
    CheckConstraint("price > 0", name="dear"),
    Index("by_hall", "hall", "letter"),
)

BEFORE = Line(SERVICE, (), (seats,))

MIGRATION = """
    def expand() -> None:
        op.add_column("seats", Column("hall", String, server_default="A"))
        op.add_column("seats", Column("price", Numeric(8, 2), nullable=False, server_default="9.50"))
        op.create_index("by_hall", "seats", ["hall", "letter"])
        op.alter_column("seats", "sold_to", nullable=True)
        fill("seats", "hall = 'B'", where="letter >= 'm' AND hall <> 'B'")

    def contract() -> None:
        op.alter_column("seats", "hall", nullable=False)
        op.create_check_constraint("dear", "seats", "price > 0")
        op.drop_column("seats", "sold_to")
"""


def after(folder: Path, body: str = MIGRATION, tables: Sequence[Table] = (later_seats,)) -> Line:
    """The next version."""
    return written(folder, body, tables=tables)


async def models(store: Store, line: Line) -> ReadModels:
    """The tables of a store as code of that version sees them, which begins to use them."""
    await store.versions.enter(line)
    found = ReadModels("hall", store, WORLD)
    await found.own(line.tables, line.code)
    return found


async def write(store: Store, *statements: str) -> None:
    """Run statements on the physical tables, before whose names {s} stands for the schema, in a unit of work."""
    dialect: Any = store.dialect
    schema = f'"{dialect.tables_schema}".' if dialect.tables_schema else ""
    effects = [Write(sql.replace("{s}", schema), ()) for sql in statements]
    await store.commit(Unit(WORLD.clock.micros(), WORLD.ids.new(), effects=[*effects]))


async def sold(store: Store, rows: Sequence[str], numbers: int) -> None:
    """Sell so many seats of each row, with code of the version before."""
    values = [f"('{row}', {number}, 'guest')" for row in rows for number in range(numbers)]
    await write(store, f'INSERT INTO {{s}}"seats__0" ("letter", number, sold_to) VALUES {", ".join(values)}')
