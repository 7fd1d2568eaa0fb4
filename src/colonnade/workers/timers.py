"""Timers: messages whose moment has come are sent, each once."""

import asyncio
from collections.abc import Sequence

from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.failures import TimerGone
from colonnade.persistence.moments import earliest
from colonnade.persistence.store import DueTimer, Store, Touched
from colonnade.persistence.unit import DisarmTimer, Unit
from colonnade.workers.waking import Waking
from colonnade.world import Clock, World

__all__ = ["AGREEMENT_SECONDS", "CLOCK_TOLERANCE_SECONDS", "Timers"]

PAGE_TIMERS = 64

CLOCK_TOLERANCE_SECONDS = 2.0
"""How far the time of day may run away from the monotonic clock before timers wait."""

AGREEMENT_SECONDS = 60.0
"""When both clocks have passed the same time for so long after one of them jumped, they agree again: the machine was
asleep, or its time of day was put right."""

_LOOK_EVERY_SECONDS = 1.0


class Timers:
    """Fires the timers of one service, unless its clocks disagree about how much time has passed."""

    def __init__(self, service: str, store: Store, world: World) -> None:
        self._service = service
        self._store = store
        self._world = world
        self._waking = Waking(Touched.TIMERS, world.clock)
        self._next_due: int | None = None
        self._must_look = True
        store.timers.watch(self._armed)
        self._clocks = _Clocks(world.clock)

    def health(self) -> Sequence[HealthState]:
        """Whether the clocks disagree."""
        if self._clocks.agree():
            return ()
        divergence = self._clocks.divergence
        return (
            HealthState(
                f"{self._service}.clock",
                Severity.DEGRADED,
                f"The time of day has moved {divergence:+.1f} s against the monotonic clock; no timer fires until they "
                f"have agreed for {AGREEMENT_SECONDS:.0f} s.",
            ),
        )

    async def run(self) -> None:
        """Fire until cancelled."""
        self._must_look = True
        while True:
            self._waking.clear()
            if not self._clocks.agree():
                await self._world.sleep(_LOOK_EVERY_SECONDS)
                continue
            if self._must_look:
                await self._look()
            if not self._is_due():
                if not await self._waking.wait(self._next_due) and not self._is_due():
                    self._must_look = True
                continue
            self._must_look = True  # for what comes after those that are due
            due = await self._store.timers.due(self._world.clock.micros(), PAGE_TIMERS)
            async with asyncio.TaskGroup() as firing:  # beside each other, so that they are committed together
                for timer in due:
                    firing.create_task(self._fire(timer))

    async def _look(self) -> None:
        # What is armed while it is read may come before what is found
        self._must_look, self._next_due = False, None
        self._next_due = earliest(await self._store.timers.next_due(), self._next_due)

    def _armed(self, moment: int | None) -> None:
        if moment is None:
            self._must_look = True
        elif self._next_due is None or moment < self._next_due:
            self._next_due = moment
        elif not self._is_due():
            return
        self._waking.wake()

    def _is_due(self) -> bool:
        return self._next_due is not None and self._next_due <= self._world.clock.micros()

    async def _fire(self, timer: DueTimer) -> None:
        # Only the timer that was read: it may have been disarmed, set anew or fired by another process meanwhile
        effects = [timer.message, DisarmTimer(timer.name, timer.due)]
        try:
            await self._store.commit(Unit(self._world.clock.micros(), self._world.ids.new(), effects=[*effects]))
        except TimerGone:
            return


class _Clocks:
    """The time of day beside the monotonic clock: a jump of one against the other is found out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._read()
        self._jumped_to = self._offset
        self._jumped_at = clock.monotonic()

    @property
    def divergence(self) -> float:
        """By how many seconds the time of day is ahead of what the monotonic clock lets expect."""
        return self._jumped_to - self._offset

    def agree(self) -> bool:
        """Whether timers may fire, as both clocks stand now; to be asked before they do."""
        offset, now = self._read(), self._clock.monotonic()
        if abs(offset - self._jumped_to) > CLOCK_TOLERANCE_SECONDS:
            self._jumped_to, self._jumped_at = offset, now
        if abs(self.divergence) <= CLOCK_TOLERANCE_SECONDS:
            # As it was, give or take: a clock that is put right slowly is followed
            self._offset = self._jumped_to = offset
        elif now - self._jumped_at >= AGREEMENT_SECONDS:
            self._offset = self._jumped_to
        return abs(self.divergence) <= CLOCK_TOLERANCE_SECONDS

    def _read(self) -> float:
        return self._clock.micros() / 1_000_000 - self._clock.monotonic()
