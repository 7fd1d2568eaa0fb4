"""The requests to one service, handed to its handlers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from colonnade.domain import Refusal
from colonnade.messages import Command, Query
from colonnade.observability.correlation import Context, current_context
from colonnade.persistence.execution import Outcome
from colonnade.persistence.failures import StoredAnswer
from colonnade.persistence.quotas import EventQuota
from colonnade.persistence.store import Store
from colonnade.persistence.unit import Effect
from colonnade.system.graph import package_of
from colonnade.system.mediation import MessageHandlers
from colonnade.system.topology import Topology

__all__ = ["InProcessDispatch"]


class InProcessDispatch:
    """Hands the requests to one service to its handlers."""

    def __init__(
        self,
        service: str,
        store: Store,
        handlers: MessageHandlers,
        topology: Topology,
        quota: EventQuota | None = None,
    ) -> None:
        self.service = service
        self.history: UUID = store.history
        self.ended: Mapping[UUID, int] = store.ended
        self._store = store
        self._handlers = handlers
        self._quota = quota
        self._packages = {package_of(each): each.name for each in topology.system.services}
        self._origins: dict[type[Refusal], str] = {}

    async def execute(
        self, command: Command[Any], context: Context, close: Callable[[Outcome[Any]], Sequence[Effect]] | None
    ) -> Outcome[Any]:
        """Carry `command` out; raises `QuotaReached` where no more may be stored."""
        if self._quota is None:
            return await self._handlers.execute(command, context, (), close)
        await self._quota.check()
        outcome = await self._handlers.execute(command, context, (), close)
        self._quota.reached(outcome.position)
        return outcome

    async def ask(self, query: Query[Any], context: Context) -> Any:
        """Answer `query`."""
        current_context.set(context)
        return await self._handlers.ask(query)

    async def answer(self, scope: str) -> StoredAnswer | None:
        """The answer kept for an idempotent request."""
        return (await self._store.answers(scope)).get(scope)

    async def end(self) -> int:
        """The position of the last event in the service's log."""
        return await self._store.log.end()

    def origin(self, refusal: Refusal) -> str:
        """The service in whose package the refusal is defined; this one for a refusal of nobody's."""
        kind = type(refusal)
        origin = self._origins.get(kind)
        if origin is None:
            module = kind.__module__
            found = [
                name
                for package, name in self._packages.items()
                if module == package or module.startswith(f"{package}.")
            ]
            origin = self._origins[kind] = found[0] if found else self.service
        return origin
