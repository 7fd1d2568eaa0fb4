"""What the shelf lets others ask."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from colonnade.domain import Conflict, NotFound
from colonnade.messages import Command, Query, Value


class Book(Value):
    """A book on the shelf."""

    number: int
    title: str
    price: Decimal


class BooksOn(Query[tuple[Book, ...]]):
    """The books on a shelf."""

    shelf: str


class TakeBook(Command[UUID]):
    """Take a book; the answer is the slip."""

    number: int


class PutBack(Command):
    """Put a book back."""

    number: int


class Wait(Query[int]):
    """Answered when somebody says so."""


class NoSuchShelf(NotFound):
    """There is no such shelf."""

    shelf: str


class AlreadyTaken(Conflict):
    """A book is taken once."""

    number: int
    since: datetime
    fine: Decimal
