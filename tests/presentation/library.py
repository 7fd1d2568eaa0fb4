"""A small service for tests: books are lent and given back."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
from starlette.responses import PlainTextResponse

from colonnade.application import Ids, Page, PageSize, Repository
from colonnade.domain import Aggregate, Conflict, Forbidden, Invalid
from colonnade.messages import Command, Event, Positive, Query, Value
from colonnade.presentation import Api, Get, Mount, Post
from colonnade.system import Service, System


class Fee(Value):
    """An amount."""

    amount: Decimal


class Copy(Value):
    """One copy of a book."""

    shelf: Positive
    fee: Fee


class BookAdded(Event):
    """A book is there."""

    title: str


class BookLent(Event):
    """A book is away."""

    reader: str


class AlreadyLent(Conflict):
    """A book is lent to one reader at a time."""

    reader: str


class NoTitle(Invalid):
    """A book has a title."""


class NotAReader(Forbidden):
    """Only readers may borrow."""


class Book(Aggregate[BookAdded | BookLent]):
    """A book."""

    reader: str | None

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.reader = None

    def lend(self, reader: str) -> None:
        """Lend it."""
        if self.reader is not None:
            raise AlreadyLent(self.reader)
        if reader == "nobody":
            raise NotAReader
        self.record(BookLent(reader))

    def apply(self, event: BookAdded | BookLent) -> None:
        """Follow."""
        match event:
            case BookLent():
                self.reader = event.reader
            case BookAdded():
                pass


class AddBook(Command[UUID]):
    """Add a book."""

    title: str
    copies: tuple[Copy, ...] = ()


class LendBook(Command):
    """Lend a book."""

    book_id: UUID
    reader: Annotated[str, msgspec.Meta(min_length=1)]


class CountCopies(Command[int]):
    """Take stock; answers with how many there are."""

    copies: tuple[Copy, ...]


class Crash(Command):
    """Fail."""


class BookById(Query[str]):
    """The reader of a book."""

    book_id: UUID


class Books(Query[Page[str]]):
    """Echoes its parameters."""

    search: str | None = None
    limit: PageSize = 20
    lent: bool = False


@dataclass(frozen=True)
class AddBookHandler:
    books: Repository[Book]
    ids: Ids

    async def __call__(self, command: AddBook) -> UUID:
        if not command.title:
            raise NoTitle
        book = Book(self.ids.new())
        book.record(BookAdded(command.title))
        self.books.add(book)
        return book.id


@dataclass(frozen=True)
class LendBookHandler:
    books: Repository[Book]

    async def __call__(self, command: LendBook) -> None:
        (await self.books.get(command.book_id)).lend(command.reader)


class CountCopiesHandler:
    async def __call__(self, command: CountCopies) -> int:
        return len(command.copies)


class CrashHandler:
    async def __call__(self, command: Crash) -> None:
        raise ZeroDivisionError("a secret of the inside")


class BooksHandler:
    async def __call__(self, query: Books) -> Page[str]:
        return Page((query.search or "", str(query.limit), str(query.lent)))


class BookByIdHandler:
    async def __call__(self, query: BookById) -> str:
        return str(query.book_id)


library = System(
    "library",
    [
        Service(
            "lending",
            handlers=[
                AddBookHandler,
                LendBookHandler,
                CountCopiesHandler,
                CrashHandler,
                BooksHandler,
                BookByIdHandler,
            ],
            api=Api(
                Post("/books", AddBook, creates="/books/{id}", example=AddBook("Emma")),
                Get("/books", Books),
                Get("/books/{book_id}", BookById),
                Post("/books/{book_id}/lending", LendBook),
                Post("/stocktaking", CountCopies),
                Post("/crash", Crash),
                Mount("/plain", PlainTextResponse("as it is")),
            ),
        )
    ],
)
