"""What the store knows of its read models: each projection's builds, and which of them is read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Executable,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy import column as any_column
from sqlalchemy import table as any_table
from sqlalchemy import tuple_ as row_of

from colonnade.application.writes import Write as AnyWrite
from colonnade.application.writes import delete as delete_row
from colonnade.application.writes import insert as insert_row
from colonnade.application.writes import upsert
from colonnade.persistence.store import Store
from colonnade.persistence.tables.build import Build, FilledBy, HeldStream
from colonnade.persistence.tables.compiling import WriteCompiler
from colonnade.persistence.tables.declared import definitions
from colonnade.persistence.tables.marking import placed
from colonnade.persistence.tables.statements import Prepared, Statements
from colonnade.persistence.unit import Effect, Write

__all__ = ["Builds"]

Place = Callable[[str], str]

_metadata = MetaData()

# The store's schema makes these; here is what statements need to know of them
_projections = Table(
    "projections", _metadata, Column("name", String, primary_key=True), Column("active", Integer, nullable=False)
)
_builds = Table(
    "builds",
    _metadata,
    Column("number", Integer, primary_key=True),
    Column("projection", String, nullable=False),
    Column("shape", String, nullable=False),
    Column("filling", String, nullable=False),
    Column("tables", String, nullable=False),
)
_held_streams = Table(
    "held_streams",
    _metadata,
    Column("build", Integer, primary_key=True),
    Column("stream", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("cause", String, nullable=False),
)
_own_tables = Table(
    "own_tables",
    _metadata,
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("shape", String, nullable=False),
)
_checkpoints = Table(
    "checkpoints", _metadata, Column("projection", String, primary_key=True), Column("position", BigInteger)
)
_events = Table("events", _metadata, Column("position", BigInteger, primary_key=True), Column("name", String))


class Builds:
    """Reads what the store knows of its read models, and makes the effects that change it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._statements = Statements(store.dialect)
        self._compiler = WriteCompiler(store.dialect, _itself)

    async def of(self, projection: str) -> tuple[int | None, Sequence[Build]]:
        """The number of the build that is read, None before the first, and all builds, oldest first."""
        active, builds = await self._read(
            select(_projections.c.active).where(_projections.c.name == projection),
            select(_builds).where(_builds.c.projection == projection).order_by(_builds.c.number),
        )
        return (
            active[0].active if active else None,
            [
                Build(row.number, projection, row.shape, _decode_filling(row.filling), _decode_tables(row.tables))
                for row in builds
            ],
        )

    async def all(self) -> Sequence[tuple[int | None, Sequence[Build]]]:
        """Of every projection the number of the build that is read, None before the first, and its builds."""
        (names,) = await self._read(select(_builds.c.projection).distinct().order_by(_builds.c.projection))
        return [await self.of(row.projection) for row in names]

    async def missing(self, build: Build) -> int | None:
        """The position of the first event that a build takes and lacks."""
        values = {"checkpoint": build.checkpoint, "names": build.filling.events}
        ((row,),) = await self._answers(self._statements.prepare(_MISSING, values))
        return None if row.position is None else int(row.position)

    async def next_number(self) -> int:
        """A number that no build has."""
        ((row,),) = await self._read(select(func.coalesce(func.max(_builds.c.number), 0)))
        return int(row[0]) + 1

    async def held(self, build: Build) -> Sequence[HeldStream]:
        """The streams that a build leaves out."""
        (rows,) = await self._read(select(_held_streams).where(_held_streams.c.build == build.number))
        return [HeldStream(row.stream, row.version, row.position, row.cause) for row in rows]

    async def is_empty(self, build: Build, table: str) -> bool:
        """Whether a table of a build has no rows."""
        (found,) = await self._read(select(literal(1)).select_from(any_table(build.physical(table))).limit(1))
        return not found

    async def own_shapes(self, table: str) -> Mapping[int, str]:
        """The shape in which code of each version knows a table of the service's own; none before it is made."""
        (rows,) = await self._read(select(_own_tables).where(_own_tables.c.name == table))
        return {row.version: row.shape for row in rows}

    def owned(self, table: Table, version: int, shape: str, physical: Place) -> Sequence[Effect]:
        """Make a table of the service's own."""
        return [*self._defined(table, physical), *self.known(table, version, shape)]

    def known(self, table: Table, version: int, shape: str) -> Sequence[Effect]:
        """Note in which shape code of a version knows a table of the service's own."""
        return self._compile(insert_row(_own_tables, name=table.name, version=version, shape=shape))

    def made(self, build: Build, tables: Sequence[Table]) -> Sequence[Effect]:
        """Make the tables of a new build."""
        row = insert_row(
            _builds,
            number=build.number,
            projection=build.projection,
            shape=build.shape,
            filling=msgspec.json.encode(build.filling).decode(),
            tables=msgspec.json.encode(build.tables).decode(),
        )
        return [*(each for table in tables for each in self._defined(table, build.physical)), *self._compile(row)]

    def switched(self, to: Build, read: Build | None) -> Sequence[Effect]:
        """Let `to` be read instead of `read`.

        It happens only where `to` is at least as far as that by then; else the unit fails with `MissedRow`.
        """
        if read is None:
            return self._compile(insert_row(_projections, name=to.projection, active=to.number))
        prepared = self._statements.prepare(
            _SWITCH,
            {
                "projection": to.projection,
                "to": to.number,
                "before": read.number,
                "ahead": to.checkpoint,
                "behind": read.checkpoint,
            },
        )
        return [Write(prepared.sql(_itself), prepared.parameters, must_hit=True)]

    def emptied(self, build: Build, table: str, rows: int) -> Sequence[Effect]:
        """Delete up to `rows` rows of a table of a build that nobody reads."""
        columns: Sequence[Any] = [any_column(name) for name in build.tables[table]]
        physical = any_table(build.physical(table), *columns)
        key = row_of(*physical.columns)
        return self._compile(delete(physical).where(key.in_(select(*physical.columns).limit(rows))))

    def dropped(self, build: Build) -> Sequence[Effect]:
        """Forget a build that nobody reads, with its tables."""
        return [
            *(Write(placed(f"DROP TABLE {self._mark(table)}", build.physical), ()) for table in build.tables),
            *self._compile(
                delete(_held_streams).where(_held_streams.c.build == build.number),
                delete(_checkpoints).where(_checkpoints.c.projection == build.checkpoint),
                delete(_builds).where(_builds.c.number == build.number),
            ),
        ]

    def holding(self, build: Build, held: HeldStream) -> Sequence[Effect]:
        """Leave a stream out of a build."""
        row = upsert(
            _held_streams,
            build=build.number,
            stream=held.stream,
            version=held.version,
            position=held.position,
            cause=held.cause,
        )
        return self._compile(row)

    def released(self, build: Build, stream: str) -> Sequence[Effect]:
        """Take a stream in again."""
        return self._compile(delete_row(_held_streams, build=build.number, stream=stream))

    def state(self, build: Build) -> Prepared:
        """Asks for the number of the build that the projection is read from, and how far `build` is."""
        return self._statements.prepare(_STATE, {"projection": build.projection, "checkpoint": build.checkpoint})

    def behind(self, build: Build, required: int, names: Sequence[str]) -> Prepared:
        """Asks for an event of the stored `names` that `build` lacks, up to the position `required`."""
        return self._statements.prepare(_BEHIND, {"checkpoint": build.checkpoint, "required": required, "names": names})

    def _defined(self, table: Table, physical: Place) -> Sequence[Effect]:
        return [Write(placed(sql, physical), ()) for sql in definitions(table, self._store.dialect)]

    def _mark(self, table: str) -> str:
        return self._store.dialect.identifier_preparer.format_table(cast(Any, any_table(table)))

    def _compile(self, *writes: AnyWrite) -> Sequence[Effect]:
        return self._compiler.compile(writes)

    async def _read(self, *statements: Executable) -> Sequence[Sequence[Any]]:
        return await self._answers(*(self._statements.prepare(statement) for statement in statements))

    async def _answers(self, *prepared: Prepared) -> Sequence[Sequence[Any]]:
        answers = await self._store.query([(each.sql(_itself), each.parameters) for each in prepared])
        return [each.rows(rows) for each, rows in zip(prepared, answers, strict=True)]


def _written(checkpoint: str) -> ColumnElement[int]:
    position = select(_checkpoints.c.position).where(_checkpoints.c.projection == bindparam(checkpoint))
    return func.coalesce(position.scalar_subquery(), 0)


_STATE = select(_projections.c.active, _written("checkpoint")).where(_projections.c.name == bindparam("projection"))
_BEHIND = (
    select(_events.c.position)
    .where(
        _events.c.position > _written("checkpoint"),
        _events.c.position <= bindparam("required"),
        _events.c.name.in_(bindparam("names", expanding=True)),
    )
    .limit(1)
)
_MISSING = select(func.min(_events.c.position).label("position")).where(
    _events.c.position > _written("checkpoint"), _events.c.name.in_(bindparam("names", expanding=True))
)
_SWITCH = (
    update(_projections)
    .where(
        _projections.c.name == bindparam("projection"),
        _projections.c.active == bindparam("before"),
        _written("ahead") >= _written("behind"),
    )
    .values(active=bindparam("to"))
)

_decode_filling = msgspec.json.Decoder(FilledBy).decode
_decode_tables = msgspec.json.Decoder(dict[str, tuple[str, ...]]).decode


def _itself(table: str) -> str:
    return table
