"""What the fleet's host runs and keeps running: servers and processes, each with its state."""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from colonnade.observability.logs import get_logger
from colonnade.system.hosts.servers.child import Child, ServerFailed
from colonnade.workers.backoff import Backoff
from colonnade.world import World

__all__ = ["Managed", "Runnable", "State"]

STEADY_SECONDS = 30.0
"""After so long without an end a process counts as well again: its next restart comes soon."""

_log = get_logger()


class State(StrEnum):
    """What a process is doing."""

    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    WAITING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Runnable(Protocol):
    """A server, or a process of the system."""

    @property
    def child(self) -> Child:
        """Its process."""

    async def start(self) -> None:
        """Start it, and return when it is ready; raises `ServerFailed`."""

    async def stop(self) -> None:
        """Stop it in order."""


class Managed:
    """Keeps one thing running. `changed` is called with each new state."""

    def __init__(self, name: str, runnable: Runnable, world: World, changed: Callable[["Managed"], None]) -> None:
        self.name = name
        self.runnable = runnable
        self.restarts = 0
        self.state = State.STARTING
        self.failure: str | None = None
        self.silent = False
        """Whether it is not ready because it did not say how it is, which one that has much to do may be late with."""
        self._world = world
        self._changed = changed
        self._replaced: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start it for the first time; raises `ServerFailed`."""
        self._enter(State.STARTING)
        await self.runnable.start()
        self._enter(State.READY)

    async def keep_running(self) -> None:
        """Start it again whenever it ends, later every time, until cancelled."""
        backoff = Backoff(self._world.randomness)
        clock = self._world.clock
        started = clock.monotonic()
        while True:
            await self.runnable.child.wait()
            if self._replaced is not None and not self._replaced.done():
                # As it was told; when that fails it is started again like any other
                await self._start_anew(self._replaced)
                continue
            self.failure = f"it ended with {self.runnable.child.ending}"
            _log.warning("process ended", process=self.name, how=self.runnable.child.ending)
            if clock.monotonic() - started >= STEADY_SECONDS:
                backoff.reset()
            self._enter(State.WAITING)
            while True:
                await self._world.sleep(backoff.next_seconds())
                self.restarts += 1
                started = clock.monotonic()
                try:
                    await self.start()
                except ServerFailed as error:
                    self.failure = error.reason
                    _log.warning("process not started", process=self.name, cause=str(error))
                    self._enter(State.WAITING)
                else:
                    self.failure = None
                    break

    def found(self, *, ready: bool, silent: bool = False) -> None:
        """Note what its health says while it runs, or that it is `silent`."""
        self.silent = silent
        state = State.READY if ready else State.UNREADY
        if self.state in (State.READY, State.UNREADY) and self.state is not state:
            _log.warning("process ready" if ready else "process not ready", process=self.name)
            self._enter(state)

    async def replace(self) -> None:
        """Stop it in order and start it anew, while it is kept running; raises `ServerFailed`."""
        if self.state not in (State.READY, State.UNREADY):
            return
        self._replaced = asyncio.get_running_loop().create_future()
        self._enter(State.STOPPING)
        await self.runnable.stop()
        await asyncio.wait([self._replaced])
        self._replaced.result()

    async def _start_anew(self, replaced: "asyncio.Future[None]") -> None:
        try:
            await self.start()
        except ServerFailed as error:
            replaced.set_exception(error)
        except BaseException:
            replaced.cancel()
            raise
        else:
            replaced.set_result(None)

    async def stop(self) -> None:
        """Stop it; `keep_running` must have been cancelled."""
        self._enter(State.STOPPING)
        await self.runnable.stop()
        self._enter(State.STOPPED)

    def _enter(self, state: State) -> None:
        self.state = state
        self._changed(self)
