"""What the notes tell others."""

from uuid import UUID

from colonnade.messages import Event


class Pinned(Event):
    """A note says something, for the first time or anew."""

    note_id: UUID
    text: str
