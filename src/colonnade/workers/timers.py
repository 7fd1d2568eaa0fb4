"""Timers: messages whose moment has come are sent, each once."""

from collections.abc import Sequence

from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.store import Store, Touched
from colonnade.persistence.unit import DisarmTimer, Unit
from colonnade.workers.waking import Waking
from colonnade.world import World

__all__ = ["Timers"]

PAGE_TIMERS = 64
CLOCK_TOLERANCE_SECONDS = 2.0
"""How far the time of day may run away from the monotonic clock before timers wait."""


class Timers:
    """Fires the timers of one service, unless its clocks disagree about how much time has passed."""

    def __init__(self, service: str, store: Store, world: World) -> None:
        self._service = service
        self._store = store
        self._world = world
        self._waking = Waking(Touched.TIMERS, world.clock)
        store.watch(self._waking.touched)
        self._divergence = 0.0

    def health(self) -> Sequence[HealthState]:
        """Whether the clocks disagree."""
        if abs(self._divergence) <= CLOCK_TOLERANCE_SECONDS:
            return ()
        return (
            HealthState(
                f"{self._service}.clock",
                Severity.DEGRADED,
                f"The time of day has moved {self._divergence:+.1f} s against the monotonic clock; no timer fires "
                "until they agree again; if the new time is the right one, restart the process.",
            ),
        )

    async def run(self) -> None:
        """Fire until cancelled."""
        clock = self._world.clock
        offset = clock.micros() / 1_000_000 - clock.monotonic()
        while True:
            self._waking.clear()
            self._divergence = clock.micros() / 1_000_000 - clock.monotonic() - offset
            if abs(self._divergence) > CLOCK_TOLERANCE_SECONDS:
                await self._world.sleep(CLOCK_TOLERANCE_SECONDS / 2)
                continue
            now = clock.micros()
            due = await self._store.timers.due(now, PAGE_TIMERS)
            for timer in due:
                unit = Unit(now, self._world.ids.new(), effects=[timer.message, DisarmTimer(timer.name)])
                await self._store.commit(unit)
            if not due:
                await self._waking.wait(await self._store.timers.next_due())
