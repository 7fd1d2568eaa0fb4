"""A small service for tests: notes are pinned, by events, beside shelves, that have no events; how often it reads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, Integer, MetaData, String, Table, Uuid, select

from colonnade.application import Projection, Repository, Write, upsert
from colonnade.domain import Aggregate, NotFound
from colonnade.messages import Command, Event, Metadata, Query
from colonnade.observability.correlation import current_context
from colonnade.persistence import Reads, Tables
from colonnade.presentation import Api, Cache, Get, Post
from colonnade.system import Service, System

NOTE = UUID(int=1)

pinned = Table("pinned", MetaData(), Column("id", Uuid, primary_key=True), Column("text", String, nullable=False))
own = MetaData()
shelves = Table("shelves", own, Column("id", Integer, primary_key=True), Column("label", String, nullable=False))

answered: Counter[str] = Counter()
"""How often each query's handler ran."""


class Pinned(Event):
    """A note says something."""

    text: str


class Note(Aggregate[Pinned]):
    """A note."""

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.text = ""

    def apply(self, event: Pinned) -> None:
        """Follow."""
        self.text = event.text


class NoteIds(Projection[Pinned]):
    """One row a note."""

    tables = (pinned,)

    def on(self, event: Pinned, meta: Metadata) -> Write:
        """Write it down."""
        return upsert(pinned, id=UUID(meta.stream.rpartition("/")[2]), text=event.text)


class Pin(Command):
    """Let the note say something."""

    text: str


class Label(Command):
    """Let a shelf be called something."""

    id: int
    label: str


class NoNote(NotFound):
    """There is such a note."""


class NoteText(Query[str]):
    """What the note says."""


class PublicNoteText(Query[str]):
    """What the note says, for all."""


class ShelfLabel(Query[str]):
    """What a shelf is called."""

    id: int


class Uncached(Query[str]):
    """What the note says, anew each time."""


@dataclass(frozen=True)
class PinHandler:
    notes: Repository[Note]

    async def __call__(self, command: Pin) -> None:
        note = await self.notes.find(NOTE)
        if note is None:
            note = Note(NOTE)
            self.notes.add(note)
        note.record(Pinned(command.text))


@dataclass(frozen=True)
class LabelHandler:
    tables: Tables

    async def __call__(self, command: Label) -> None:
        self.tables.write(upsert(shelves, id=command.id, label=command.label))


async def _text(reads: Reads, query: Query[str]) -> str:
    answered[type(query).__name__] += 1
    row = await reads.first(select(pinned.c.text).where(pinned.c.id == NOTE))
    if row is None:
        raise NoNote
    return str(row.text)


@dataclass(frozen=True)
class NoteTextHandler:
    reads: Reads

    async def __call__(self, query: NoteText) -> str:
        return await _text(self.reads, query)


@dataclass(frozen=True)
class PublicNoteTextHandler:
    reads: Reads

    async def __call__(self, query: PublicNoteText) -> str:
        assert current_context.get().principal is None
        return await _text(self.reads, query)


@dataclass(frozen=True)
class UncachedHandler:
    reads: Reads

    async def __call__(self, query: Uncached) -> str:
        return await _text(self.reads, query)


@dataclass(frozen=True)
class ShelfLabelHandler:
    reads: Reads

    async def __call__(self, query: ShelfLabel) -> str:
        answered["ShelfLabel"] += 1
        row = await self.reads.first(select(shelves.c.label).where(shelves.c.id == query.id))
        return "" if row is None else str(row.label)


HANDLERS: Sequence[type[object]] = [
    PinHandler, LabelHandler, NoteTextHandler, PublicNoteTextHandler, UncachedHandler, ShelfLabelHandler,
]  # fmt: skip

pinboard = System(
    "pinboard",
    [
        Service(
            "notes",
            handlers=HANDLERS,
            projections=[NoteIds],
            tables=own,
            api=Api(
                Post("/note", Pin),
                Post("/shelves/{id}", Label),
                Get("/note", NoteText, cache=Cache(seconds=60, stale_seconds=30)),
                Get("/note/public", PublicNoteText, cache=Cache(seconds=60, public=True)),
                Get("/note/anew", Uncached),
                Get("/shelves/{id}", ShelfLabel, cache=Cache(seconds=60)),
            ),
        )
    ],
)
