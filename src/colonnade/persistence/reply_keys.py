"""Where the answer to a saga's command goes, and what it answers."""

from enum import StrEnum
from functools import lru_cache

import msgspec

__all__ = ["Direction", "ReplyKey"]


class Direction(StrEnum):
    """What is asked of a step; `AGAIN` undoes once more what was done after it had been undone."""

    DO = "do"
    UNDO = "undo"
    AGAIN = "again"


# Calling the class takes as long as the rest of parsing
_DIRECTIONS = {direction.value: direction for direction in Direction}


_KEPT = 1_000
"""Of how many texts it is remembered what they say: a command and its answer have the same one."""


class ReplyKey(msgspec.Struct, frozen=True, gc=False):
    """Which asking of which step of which saga a command is: `number` counts from 1 how often it was asked for.

    `consumer` and `key` name the saga's line in the inbox of the service that it belongs to.
    """

    consumer: str
    key: str
    step: str
    direction: Direction
    number: int

    def __str__(self) -> str:
        return f"{self.consumer}|{self.key}|{self.step}|{self.direction}|{self.number}"

    @property
    def undo(self) -> bool:
        """Whether the step is to be undone."""
        return self.direction is not Direction.DO

    def mark(self, asker: str, direction: Direction | None = None) -> str:
        """Under which the service that carries a step of the service `asker` out remembers that it did.

        Of this asking, or in another `direction`.
        """
        return f"{direction or self.direction}|{asker}|{self.consumer}|{self.key}|{self.step}"

    @staticmethod
    def line_of(text: str) -> tuple[str, str]:
        """The consumer and the key that `text` begins with, whatever the rest is; raises `ValueError`."""
        consumer, bar, rest = text.partition("|")
        key, second, _ = rest.partition("|")
        if not (bar and second):
            raise ValueError("It is a reply that does not say to whom.")
        return consumer, key

    @staticmethod
    @lru_cache(_KEPT)
    def parse(text: str) -> "ReplyKey":
        """The key that `text` is, in which a step's id may hold any sign; raises `ValueError`."""
        consumer, key, rest = text.split("|", 2)
        step, direction, number = rest.rsplit("|", 2)
        known = _DIRECTIONS.get(direction)
        if known is None:
            raise ValueError(f"{direction!r} is no direction of a step.")
        return ReplyKey(consumer, key, step, known, int(number))
