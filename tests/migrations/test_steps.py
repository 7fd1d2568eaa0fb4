"""The SQL of migrations on both engines, and what no step of one may be."""

from pathlib import Path
from textwrap import dedent

import pytest

from colonnade.persistence.migrations.compiling import steps_of
from colonnade.persistence.migrations.line import InvalidMigration, Part
from colonnade.persistence.migrations.plan import physical_of
from colonnade.persistence.postgres.dialect import postgres_dialect
from colonnade.persistence.sqlite.dialect import sqlite_dialect
from tests.migrations.files import written

ADDING = """
    def expand() -> None:
        op.add_column("seats", Column("hall", String))
        op.add_column("seats", Column("price", Numeric(8, 2), nullable=False, server_default="9.50"))
        op.create_index("by_hall", "seats", ["hall", "id"])
        fill("seats", "hall = 'A'", where="hall IS NULL")
        op.execute('CREATE FUNCTION seats_left() RETURNS bigint RETURN (SELECT count(*) FROM "@seats")')
"""
TIGHTENING = """
    def contract() -> None:
        op.alter_column("seats", "hall", nullable=False)
        op.create_check_constraint("dear", "seats", "price > 0")
        op.drop_constraint("cheap", "seats")
        op.create_index("once", "seats", ["hall"], unique=True)
        op.drop_index("by_price", "seats")
        op.drop_column("seats", "row")
        op.drop_table("rows")
"""


def compiled(folder: Path, body: str, part: Part, engine: str) -> list[str]:
    """The SQL of a part of a migration."""
    line = written(folder, body)
    dialect = postgres_dialect("hall") if engine == "postgresql" else sqlite_dialect()
    return [step.sql for step in steps_of(line.migrations[0], part, line, dialect, physical_of(line)).steps]


def test_expanding_keeps_nobody_waiting_on_postgresql(tmp_path: Path) -> None:
    """Columns are added, indexes are made beside those who write."""
    assert compiled(tmp_path, ADDING, "expand", "postgresql") == [
        'ALTER TABLE hall."seats__0" ADD COLUMN hall TEXT COLLATE "C"',
        "ALTER TABLE hall.\"seats__0\" ADD COLUMN price NUMERIC(8, 2) DEFAULT '9.50' NOT NULL",
        'CREATE INDEX CONCURRENTLY "seats__0_by_hall" ON hall."seats__0" (hall NULLS FIRST, id NULLS FIRST)',
        "UPDATE hall.\"seats__0\" SET hall = 'A' WHERE hall IS NULL",
        'CREATE FUNCTION seats_left() RETURNS bigint RETURN (SELECT count(*) FROM "seats__0")',
    ]


def test_contracting_keeps_nobody_waiting_on_postgresql(tmp_path: Path) -> None:
    """Rows are looked at under locks that nobody waits for."""
    assert compiled(tmp_path, TIGHTENING, "contract", "postgresql") == [
        'ALTER TABLE hall."seats__0" ADD CONSTRAINT seats_hall_is_there CHECK (hall IS NOT NULL) NOT VALID',
        'ALTER TABLE hall."seats__0" VALIDATE CONSTRAINT seats_hall_is_there',
        'ALTER TABLE hall."seats__0" ALTER COLUMN hall SET NOT NULL',
        'ALTER TABLE hall."seats__0" DROP CONSTRAINT seats_hall_is_there',
        'ALTER TABLE hall."seats__0" ADD CONSTRAINT dear CHECK (price > 0) NOT VALID',
        'ALTER TABLE hall."seats__0" VALIDATE CONSTRAINT dear',
        'ALTER TABLE hall."seats__0" DROP CONSTRAINT cheap',
        'CREATE UNIQUE INDEX CONCURRENTLY "seats__0_once" ON hall."seats__0" (hall NULLS FIRST)',
        'DROP INDEX CONCURRENTLY IF EXISTS hall."seats__0_by_price"',
        'ALTER TABLE hall."seats__0" DROP COLUMN row',
        'DROP TABLE hall."rows__0"',
        "DELETE FROM hall.\"own_tables\" WHERE name = 'rows'",
    ]


def test_sqlite_takes_the_same_steps(tmp_path: Path) -> None:
    """What it cannot change in place it copies, each table once."""
    expanding = compiled(tmp_path, ADDING.replace("op.execute", "lambda _: "), "expand", "sqlite")
    assert [" ".join(sql.split()) for sql in expanding] == [
        'ALTER TABLE "seats__0" ADD COLUMN hall TEXT',
        "ALTER TABLE \"seats__0\" ADD COLUMN price TEXT COLLATE decimal DEFAULT '9.50' NOT NULL",
        'CREATE INDEX "seats__0_by_hall" ON "seats__0" (hall, id)',
        "UPDATE \"seats__0\" SET hall = 'A' WHERE hall IS NULL",
    ]
    assert compiled(tmp_path, TIGHTENING, "contract", "sqlite") == [
        "-- copy seats into its declared form",
        'CREATE UNIQUE INDEX "seats__0_once" ON "seats__0" (hall)',
        'DROP INDEX "seats__0_by_price"',
        'DROP TABLE "rows__0"',
        "DELETE FROM \"own_tables\" WHERE name = 'rows'",
    ]


def test_a_table_that_is_made_has_its_indexes(tmp_path: Path) -> None:
    """Unique ones too, since nobody writes it yet."""
    body = """
        def expand() -> None:
            op.create_table("rows", Column("id", Integer, primary_key=True), Column("hall", String, nullable=False))
            op.create_index("once", "rows", ["hall"], unique=True)
    """
    made, index = compiled(tmp_path, body, "expand", "postgresql")
    assert made.startswith('CREATE TABLE hall."rows__0" (')
    assert index.startswith('CREATE UNIQUE INDEX CONCURRENTLY "rows__0_once"')


@pytest.mark.parametrize(
    ("part", "step", "told"),
    [
        (
            "expand",
            'op.add_column("a", Column("b", Integer, nullable=False))',
            "add_column b of a: it is NOT NULL",
        ),
        ("expand", 'op.add_column("a", Column("b", Integer, server_default=text("f()")))', "its default is computed"),
        ("expand", 'op.add_column("a", Column("b", Integer, Computed("c + 1")))', "the whole table is rewritten"),
        ("expand", 'op.add_column("a", Column("b", Integer, unique=True))', "its key or index is built under a lock"),
        ("contract", 'op.add_column("a", Column("b", Integer))', "code of this version needs it when it starts"),
        ("expand", 'op.create_index("i", "a", ["b"], unique=True)', "code of the version before may write rows that"),
        ("expand", 'op.drop_column("a", "b")', "drop_column b of a: code of the version before still uses it"),
        ("expand", 'op.drop_table("a")', r"move it to contract\(\)"),
        ("expand", 'op.alter_column("a", "b", nullable=False)', "alter_column b of a: code of the version before"),
        ("contract", 'op.alter_column("a", "b", type_=Integer())', "another type rewrites the table under a lock"),
        (
            "contract",
            'op.alter_column("a", "b", new_column_name="c")',
            "looks for the old name; add a column",
        ),
        ("contract", 'op.rename_table("a", "b")', "code of the version before looks for the old name; make a table"),
        ("contract", 'op.create_unique_constraint("u", "a", ["b"])', "make a unique index"),
        ("contract", 'op.create_primary_key("u", "a", ["b"])', "it scans the table under a lock"),
        ("expand", 'op.execute("UPDATE a SET b = 1")', r"execute: it locks all rows .*; use fill\(\)"),
        ("expand", 'op.execute("ALTER TABLE a ADD COLUMN b text")', "what ALTER TABLE locks and for how long is not"),
        ("expand", 'op.execute("DROP FUNCTION f()")', "code of the version before still uses it"),
        ("expand", "op.get_bind()", "it asks for a connection"),
        ("expand", 'op.batch_alter_table("a")', "call the operations one by one"),
        ("expand", 'op.create_table("a", Column("b", Integer))', "it has no primary key"),
        ("expand", "1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_is_not_safe_is_refused(tmp_path: Path, part: Part, step: str, told: str) -> None:
    """With the file, the step, the reason and the remedy, before anything is carried out."""
    body = dedent(f"""
        def {part}() -> None:
            {step}
    """)
    for engine in ("postgresql", "sqlite"):
        with pytest.raises(InvalidMigration, match=rf"0001_step.py, {part}\(\).*{told}"):
            compiled(tmp_path, body, part, engine)
