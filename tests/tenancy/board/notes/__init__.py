"""The notes: written, read, kept for a while, and filed in the archive."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, MetaData, String, Table, Uuid, select

from colonnade.application import Mediator, Plan, Projection, Repository, Saga, Step, Write, upsert
from colonnade.domain import Aggregate, NotFound
from colonnade.messages import Command, Metadata, Query
from colonnade.persistence import Reads
from colonnade.presentation import Api, Cache, Get, Post
from colonnade.system import Service
from tests.tenancy.board.archive.contracts import File, Filed, Unfile
from tests.tenancy.board.notes import contracts
from tests.tenancy.board.notes.contracts import Pinned

__all__ = ["service"]


class NoNote(NotFound):
    """There is such a note."""


class Note(Aggregate[Pinned]):
    """A note."""

    def apply(self, event: Pinned) -> None:
        """Follow."""
        self.text = event.text


class Pin(Command[str]):
    """Let a note say something; the answer is what it said before."""

    note_id: UUID
    text: str


@dataclass(frozen=True)
class PinHandler:
    notes: Repository[Note]

    async def __call__(self, command: Pin) -> str:
        note, before = await self.notes.find(command.note_id), ""
        if note is None:
            note = Note(command.note_id)
            self.notes.add(note)
        else:
            before = note.text
        note.record(Pinned(command.note_id, command.text))
        return before


pinned = Table("pinned", MetaData(), Column("id", Uuid, primary_key=True), Column("text", String, nullable=False))


class Notes(Projection[Pinned]):
    """One row a note."""

    tables = (pinned,)

    def on(self, event: Pinned, meta: Metadata) -> Write:
        """Write it down."""
        return upsert(pinned, id=event.note_id, text=event.text)


class NoteText(Query[str]):
    """What a note says."""

    note_id: UUID


class PublicNoteText(Query[str]):
    """What a note says, for all."""

    note_id: UUID


class NotePage(Query[str]):
    """What a note says, read anew each time."""

    note_id: UUID


class AllTexts(Query[list[str]]):
    """What all notes say."""


class FiledElsewhere(Query[list[str]]):
    """What the archive has, asked for."""


async def _text(reads: Reads, id: UUID) -> str:
    row = await reads.first(select(pinned.c.text).where(pinned.c.id == id))
    if row is None:
        raise NoNote
    return str(row.text)


@dataclass(frozen=True)
class NoteTextHandler:
    reads: Reads

    async def __call__(self, query: NoteText) -> str:
        return await _text(self.reads, query.note_id)


@dataclass(frozen=True)
class PublicNoteTextHandler:
    reads: Reads

    async def __call__(self, query: PublicNoteText) -> str:
        return await _text(self.reads, query.note_id)


@dataclass(frozen=True)
class NotePageHandler:
    reads: Reads

    async def __call__(self, query: NotePage) -> str:
        return await _text(self.reads, query.note_id)


@dataclass(frozen=True)
class AllTextsHandler:
    reads: Reads

    async def __call__(self, query: AllTexts) -> list[str]:
        return [row.text for row in await self.reads.all(select(pinned.c.text).order_by(pinned.c.id))]


@dataclass(frozen=True)
class FiledElsewhereHandler:
    services: Mediator

    async def __call__(self, query: FiledElsewhere) -> list[str]:
        return await self.services.ask(Filed())


class FileNote(Saga[Pinned]):
    """File each note."""

    def plan(self, event: Pinned) -> Plan:
        """One step."""
        return Plan(Step("file", File(event.note_id, event.text), undo=Unfile(event.note_id)))


service = Service(
    "notes",
    contracts=contracts,
    handlers=[
        PinHandler, NoteTextHandler, PublicNoteTextHandler, NotePageHandler, AllTextsHandler, FiledElsewhereHandler,
    ],
    projections=[Notes],
    sagas=[FileNote],
    api=Api(
        Post("/notes/{note_id}", Pin),
        Get("/notes/{note_id}", NoteText, cache=Cache(seconds=60)),
        Get("/public/{note_id}", PublicNoteText, cache=Cache(seconds=60, public=True)),
        Get("/anew/{note_id}", NotePage),
        Get("/notes", AllTexts),
        Get("/filed", FiledElsewhere),
    ),
)  # fmt: skip
