"""Background loops are kept running."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest

from colonnade.observability.health import Severity
from colonnade.system.hosts.supervision import STEADY_SECONDS, Supervisor
from colonnade.world import World, real_world


class Sleeping:
    """A world in which sleeping takes no time, and time passes only by sleeping."""

    def __init__(self) -> None:
        real = real_world()
        self.seconds = 1_000.0
        self.slept: list[float] = []
        self.world = World(self, real.randomness, real.ids, self.sleep)
        self.micros = real.clock.micros
        self.now = real.clock.now

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


async def running(supervisor: Supervisor, until: Callable[[], bool]) -> None:
    """Run `supervisor` until a condition holds, then cancel it."""
    task = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(10):
        while not until():  # noqa: ASYNC110 - the loops under test are what moves the world
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_that_fails_is_started_again_and_named(logged: list[MutableMapping[str, Any]]) -> None:
    """It is degraded until it has run for a while; then it counts as well."""
    sleeping, starts = Sleeping(), 0

    async def relay() -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise OSError("disk full")
        await asyncio.Event().wait()

    supervisor = Supervisor({"ordering.relay": relay}, sleeping.world)
    await running(supervisor, lambda: starts == 2)
    (state,) = supervisor.health()
    assert (state.name, state.severity) == ("ordering.relay.failing", Severity.DEGRADED)
    assert state.detail == "ordering.relay failed and is started again: OSError: disk full"
    assert [(line["event"], line["loop"]) for line in logged] == [("loop failed", "ordering.relay")]
    sleeping.seconds += 2 * STEADY_SECONDS
    assert supervisor.health() == []


async def test_a_loop_that_keeps_failing_is_tried_at_growing_intervals() -> None:
    """The waits grow to a bound, so that a broken loop costs little and comes back soon."""
    sleeping = Sleeping()

    async def broken() -> None:
        raise OSError("disk full")

    await running(Supervisor({"broken": broken}, sleeping.world), lambda: len(sleeping.slept) == 12)
    assert sleeping.slept[0] <= 0.1
    assert sleeping.slept[3] > sleeping.slept[0]
    assert max(sleeping.slept) <= 5.0


async def test_the_waits_begin_anew_after_a_steady_time() -> None:
    """A failure after an hour of work is not the next of a series."""
    sleeping = Sleeping()

    async def seldom() -> None:
        if len(sleeping.slept) == 8:
            sleeping.seconds += 2 * STEADY_SECONDS
        raise OSError("disk full")

    await running(Supervisor({"seldom": seldom}, sleeping.world), lambda: len(sleeping.slept) == 9)
    assert sleeping.slept[8] <= 0.1 < sleeping.slept[7]


async def test_one_loop_that_fails_leaves_the_others_alone() -> None:
    """Loops stand beside each other."""
    sleeping, ticks = Sleeping(), 0

    async def broken() -> None:
        raise OSError("disk full")

    async def sound() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    supervisor = Supervisor({"broken": broken, "sound": sound}, sleeping.world)
    await running(supervisor, lambda: ticks > 100 and len(sleeping.slept) > 3)
    assert [state.name for state in supervisor.health()] == ["broken.failing"]


async def test_a_loop_that_returns_is_a_failure_too() -> None:
    """A loop goes on for ever; one that ends silently would be work that nobody does."""
    sleeping = Sleeping()

    async def short() -> None:
        return

    supervisor = Supervisor({"short": short}, sleeping.world)
    await running(supervisor, lambda: len(sleeping.slept) > 1)
    assert supervisor.health()[0].detail.endswith("LoopEnded: it ended by itself")


async def test_a_loop_that_cancels_itself_is_a_failure() -> None:
    """A stray cancellation inside a loop does not end it for good."""
    sleeping = Sleeping()

    async def confused() -> None:
        raise asyncio.CancelledError

    supervisor = Supervisor({"confused": confused}, sleeping.world)
    await running(supervisor, lambda: len(sleeping.slept) > 1)
    assert supervisor.health()[0].detail.endswith("LoopEnded: it ended by itself")


async def test_the_cause_is_told_and_not_the_group_it_came_in() -> None:
    """What a task group raises says only how many failed."""
    sleeping = Sleeping()

    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing())

    async def failing() -> None:
        raise OSError("disk full")

    supervisor = Supervisor({"grouped": grouped}, sleeping.world)
    await running(supervisor, lambda: len(sleeping.slept) > 0)
    assert supervisor.health()[0].detail.endswith("OSError: disk full")


async def test_a_loop_that_fails_while_it_is_cancelled_is_not_started_again(
    logged: list[MutableMapping[str, Any]],
) -> None:
    """A failure on the way out is told, and does not keep the host from stopping."""
    starts = 0

    async def stubborn() -> None:
        nonlocal starts
        starts += 1
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("disk full")

    await running(Supervisor({"stubborn": stubborn}, real_world()), lambda: starts == 1)
    assert starts == 1
    assert [line["event"] for line in logged] == ["loop failed while it was stopped"]


async def test_cancelling_waits_for_every_loop_to_let_go() -> None:
    """When the supervisor has stopped, nothing runs any more."""
    released = []

    def loop(name: str) -> Callable[[], "asyncio.Future[None]"]:
        async def run() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                released.append(name)

        return run  # type: ignore[return-value]

    supervisor = Supervisor({name: loop(name) for name in "abc"}, real_world())
    task = asyncio.create_task(supervisor.run())
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(released) == ["a", "b", "c"]
