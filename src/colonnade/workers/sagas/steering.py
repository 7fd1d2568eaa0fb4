"""Speaking to sagas from command handlers."""

from typing import Any
from uuid import UUID

from colonnade.application import Saga
from colonnade.observability.correlation import current_context
from colonnade.persistence.work import work_at_hand
from colonnade.workers.sagas.messages import cancel_message
from colonnade.world import World

__all__ = ["UnitSagas"]


class UnitSagas:
    """Sends cancellations with the unit of work at hand."""

    def __init__(self, service: str, world: World) -> None:
        self._service = service
        self._world = world

    def cancel(self, saga: type[Saga[Any]], key: UUID, why: str) -> None:
        """Ask the instance known by `key` to stop and undo what it did."""
        message = cancel_message(saga.__name__, key, why, self._service, current_context.get(), self._world)
        work_at_hand().effects.append(message)
