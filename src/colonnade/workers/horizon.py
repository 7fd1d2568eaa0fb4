"""Whoever holds readers of a log back for long is named: a forgotten transaction stops all that follows it."""

from collections.abc import Sequence

from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.store import HorizonHeld, Log
from colonnade.world import World

__all__ = ["HELD_SECONDS", "LOOK_EVERY_SECONDS", "Horizon"]

LOOK_EVERY_SECONDS = 2.0

HELD_SECONDS = 5.0
"""A transaction that holds readers back for longer than this is told: units of work take milliseconds."""


class Horizon:
    """Looks now and then by whom the readers of one service's log are held back."""

    def __init__(self, service: str, log: Log, world: World) -> None:
        self._service = service
        self._log = log
        self._world = world
        self._held: HorizonHeld | None = None
        self._looked_at = 0.0

    def health(self) -> Sequence[HealthState]:
        """The oldest transaction that holds readers back, if it does for long."""
        held = self._held
        if held is None or (seconds := held.seconds + self._world.clock.monotonic() - self._looked_at) < HELD_SECONDS:
            return ()
        detail = (
            f"Nobody reads beyond position {held.position} of the log: the transaction of the server's process "
            f"{held.session} has not ended for {seconds:.0f} s ({held.doing}); end it, or pg_terminate_backend it."
        )
        return (HealthState(f"{self._service}.horizon", Severity.DEGRADED, detail),)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._held, self._looked_at = await self._log.held(), self._world.clock.monotonic()
            await self._world.sleep(LOOK_EVERY_SECONDS)
