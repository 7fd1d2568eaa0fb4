"""Where the answer to a saga's command goes, and what it answers."""

from dataclasses import dataclass

__all__ = ["ReplyKey"]


@dataclass(frozen=True, slots=True)
class ReplyKey:
    """Which asking of which step of which saga a command is: `number` counts from 1 how often it was asked for.

    `consumer` and `key` name the saga's line in the inbox of the service that it belongs to.
    """

    consumer: str
    key: str
    step: str
    undo: bool
    number: int

    def __str__(self) -> str:
        return f"{self.consumer}|{self.key}|{self.step}|{'undo' if self.undo else 'do'}|{self.number}"

    @classmethod
    def parse(cls, text: str) -> "ReplyKey":
        """The key that `text` is; a step's id may hold any sign."""
        consumer, key, rest = text.split("|", 2)
        step, direction, number = rest.rsplit("|", 2)
        return cls(consumer, key, step, direction == "undo", int(number))
