"""Sending a message to its one handler, wherever that runs (Gamma et al., Mediator)."""

from typing import Protocol, TypeVar

from colonnade.messages import Command, Query

__all__ = ["Mediator"]

R = TypeVar("R")


class Mediator(Protocol):
    """Routes commands and queries to their handlers, of this service or by another service's contracts.

    Deadline, trace and principal travel along.
    """

    async def execute(self, command: Command[R]) -> R:
        """Carry `command` out and return its answer; raises the handler's `Refusal`.

        Inside a handler, a command of the handler's own service is refused: one command is one unit of work.
        """

    async def ask(self, query: Query[R]) -> R:
        """Answer `query`; raises the handler's `Refusal`."""
