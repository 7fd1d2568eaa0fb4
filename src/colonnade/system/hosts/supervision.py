"""Background loops that are never silently gone: one that fails is told, and started again (Armstrong, supervisor)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from colonnade.observability.health import HealthState, Severity
from colonnade.observability.logs import get_logger
from colonnade.workers.backoff import Backoff
from colonnade.world import World

__all__ = ["Loop", "LoopEnded", "Supervisor"]

STEADY_SECONDS = 30.0
"""After how long without a failure a loop counts as well again."""

_log = get_logger()

Loop = Callable[[], Awaitable[None]]
"""Works until it is cancelled; may be started again after it has failed."""


class LoopEnded(Exception):
    """A loop that should go on for ever returned."""

    def __str__(self) -> str:
        return "it ended by itself"


class Supervisor:
    """Keeps loops running beside each other, each by itself: one that fails harms no other."""

    def __init__(self, loops: Mapping[str, Loop], world: World) -> None:
        self._loops = dict(loops)
        self._world = world
        self._failures: dict[str, tuple[float, HealthState]] = {}

    def health(self) -> Sequence[HealthState]:
        """The loops that failed a short while ago, or wait to be started again."""
        now = self._world.clock.monotonic()
        return [state for steady_at, state in self._failures.values() if now < steady_at]

    async def run(self) -> None:
        """Run all loops until cancelled, and return when the last of them has let go."""
        async with asyncio.TaskGroup() as group:
            for name, loop in self._loops.items():
                group.create_task(self._keep_running(name, loop), name=name)

    async def _keep_running(self, name: str, loop: Loop) -> None:
        backoff = Backoff(self._world.randomness)
        clock = self._world.clock
        while True:
            started = clock.monotonic()
            error = await _failure_of(loop)
            cause = _first_of(error)
            if clock.monotonic() - started >= STEADY_SECONDS:
                backoff.reset()
            seconds = backoff.next_seconds()
            self._failures[name] = (
                clock.monotonic() + seconds + STEADY_SECONDS,
                HealthState(
                    f"{name}.failing",
                    Severity.DEGRADED,
                    f"{name} failed and is started again: {type(cause).__name__}: {cause}",
                ),
            )
            _log.error("loop failed", loop=name, restart_seconds=round(seconds, 3), exc_info=error)
            await self._world.sleep(seconds)


async def _failure_of(loop: Loop) -> BaseException:
    """Run `loop` until it fails; cancelled together with the caller, whatever the loop makes of that."""
    # A task of its own: a task group that fails while its task is cancelled hides the cancellation (before Python
    # 3.13), and a loop that was cancelled by its own doing is a failure, not the end of the supervisor
    task = asyncio.ensure_future(loop())
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("loop failed while it was stopped", exc_info=error)
        raise
    if task.cancelled():
        return LoopEnded()
    return task.exception() or LoopEnded()


def _first_of(error: BaseException) -> BaseException:
    # What a task group raises says only how many failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
