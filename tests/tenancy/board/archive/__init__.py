"""The archive: folders that texts are filed in, and a clerk who hears of each note."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, MetaData, String, Table, Uuid, select

from colonnade.application import Delivery, Projection, Repository, Subscriber, Write, upsert
from colonnade.domain import Aggregate
from colonnade.messages import Command, Event, Metadata
from colonnade.observability.correlation import current_context
from colonnade.persistence import Reads
from colonnade.presentation import Api, Get
from colonnade.system import Service
from tests.tenancy.board.archive import contracts
from tests.tenancy.board.archive.contracts import File, Filed, Unfile
from tests.tenancy.board.notes.contracts import Pinned

__all__ = ["heard", "service"]

heard: list[tuple[str | None, str]] = []
"""The tenant in whose context the clerk heard of a note, and its text."""


class TextFiled(Event):
    """A text is in the folder."""

    text: str


class Folder(Aggregate[TextFiled]):
    """A folder."""

    def apply(self, event: TextFiled) -> None:
        """Follow."""
        self.text = event.text


@dataclass(frozen=True)
class FileHandler:
    folders: Repository[Folder]

    async def __call__(self, command: File) -> None:
        folder = await self.folders.find(command.folder)
        if folder is None:
            folder = Folder(command.folder)
            self.folders.add(folder)
        folder.record(TextFiled(command.text))


@dataclass(frozen=True)
class UnfileHandler:
    async def __call__(self, command: Unfile) -> None: ...


folders = Table("folders", MetaData(), Column("id", Uuid, primary_key=True), Column("text", String, nullable=False))


class Folders(Projection[TextFiled]):
    """One row a folder."""

    tables = (folders,)

    def on(self, event: TextFiled, meta: Metadata) -> Write:
        """Write it down."""
        return upsert(folders, id=UUID(meta.stream.rpartition("/")[2]), text=event.text)


@dataclass(frozen=True)
class FiledHandler:
    reads: Reads

    async def __call__(self, query: Filed) -> list[str]:
        return [row.text for row in await self.reads.all(select(folders.c.text).order_by(folders.c.id))]


class Clerk(Subscriber[Pinned]):
    """Hears of notes."""

    async def on(self, event: Pinned, delivery: Delivery) -> Command | None:
        """Remember."""
        heard.append((current_context.get().tenant, event.text))
        return None


service = Service(
    "archive",
    contracts=contracts,
    handlers=[FileHandler, UnfileHandler, FiledHandler],
    projections=[Folders],
    subscribers=[Clerk],
    api=Api(Get("/filed", Filed)),
)
