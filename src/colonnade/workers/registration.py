"""Staying registered at a store, so that its tables are not contracted under the code that uses them."""

from collections.abc import Sequence

from colonnade.observability.health import HealthBoard, HealthState, Severity
from colonnade.persistence.migrations.versions import CodeTooOld
from colonnade.persistence.store import Versions
from colonnade.world import World

__all__ = ["RENEW_SECONDS", "Registration"]

RENEW_SECONDS = 5.0
"""A few renewals may fail before an instance counts as gone."""


class Registration:
    """The registration of one instance of a service."""

    def __init__(self, service: str, versions: Versions, world: World) -> None:
        self._name = f"{service}.registration"
        self._versions = versions
        self._world = world
        self._board = HealthBoard()

    async def run(self) -> None:
        """Renew until cancelled; raises `StoreFailed`."""
        while True:
            await self._world.sleep(RENEW_SECONDS)
            try:
                await self._versions.renew()
            except CodeTooOld as error:
                self._board.raise_state(HealthState(self._name, Severity.FATAL, str(error)))

    def health(self) -> Sequence[HealthState]:
        """Whether the tables have gone on without this instance, which can then not go on itself."""
        return self._board()
