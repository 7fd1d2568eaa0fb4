"""What the endpoints of a service need of the service."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from colonnade.domain import Refusal
from colonnade.messages import Command, Query
from colonnade.observability.correlation import Context
from colonnade.persistence.execution import Outcome
from colonnade.persistence.failures import StoredAnswer
from colonnade.persistence.unit import Effect

__all__ = ["Dispatch"]


class Dispatch(Protocol):
    """Carries out the commands and answers the queries of one service."""

    @property
    def service(self) -> str:
        """Its name."""

    @property
    def history(self) -> UUID:
        """That of its store."""

    @property
    def ended(self) -> Mapping[UUID, int]:
        """The histories before, each with the position up to which the present one has the same."""

    async def execute(
        self, command: Command[Any], context: Context, close: Callable[[Outcome[Any]], Sequence[Effect]] | None
    ) -> Outcome[Any]:
        """Carry `command` out; `close` adds effects that depend on its outcome."""

    async def ask(self, query: Query[Any], context: Context) -> Any:  # Any: what the query is answered with
        """Answer `query`."""

    async def answer(self, scope: str) -> StoredAnswer | None:
        """The answer kept for an idempotent request."""

    async def end(self) -> int:
        """The position of the last event in the service's log."""

    def origin(self, refusal: Refusal) -> str:
        """The service that a refusal belongs to."""
