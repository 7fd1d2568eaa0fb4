"""What the archive does for others."""

from uuid import UUID

from colonnade.messages import Command, Query


class File(Command):
    """Put a text into a folder."""

    folder: UUID
    text: str


class Unfile(Command):
    """Take it out again."""

    folder: UUID


class Filed(Query[list[str]]):
    """The texts in all folders."""
