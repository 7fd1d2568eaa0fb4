"""Commands that leave with a unit of work (transactional outbox), now or later, and answers that come later."""

from datetime import datetime, timedelta
from typing import Protocol

from colonnade.domain import Refusal
from colonnade.messages import Command

__all__ = ["Deferred", "Outbox", "Replies"]


class Outbox(Protocol):
    """Sends commands in the transaction of the command at hand: all of its effects happen, or none."""

    def send(
        self,
        command: Command[object],
        *,
        key: str | None = None,
        after: timedelta | None = None,
        at: datetime | None = None,
    ) -> None:
        """Send `command` to the service that handles it, once this unit of work is committed.

        Commands of one `key` are handled in order; without one the key is the stream first written by this unit.
        `after` or `at` delays it; giving both raises `ValueError`.
        """


class Deferred:
    """Returned by a command handler whose outcome is known only later, under `key`, through `Replies.settle`."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key


class Replies(Protocol):
    """Settles commands whose handlers returned `Deferred`."""

    async def settle(self, key: str, refusal: Refusal | None = None) -> None:
        """Answer the commands that wait under `key`: done, or refused; nothing happens where none waits."""
