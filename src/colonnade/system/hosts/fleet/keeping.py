"""Things that are started beside each other, kept running, and stopped at the end; more may come, and some go."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from colonnade.system.hosts.fleet.instance import Instance
from colonnade.system.hosts.fleet.managed import Managed
from colonnade.system.hosts.fleet.watching import watch
from colonnade.world import World

__all__ = ["Keeping"]


class Keeping:
    """Keeps things running while its block runs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: dict[Managed, Sequence[asyncio.Task[None]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(self.let_go(managed) for managed in list(self._tasks)))

    async def start(self, several: Sequence[Managed]) -> None:
        """Start `several` beside each other; where one does not start none of them is left. Raises `ServerFailed`."""
        try:
            async with asyncio.TaskGroup() as starting:
                for managed in several:
                    starting.create_task(managed.start())
        except BaseException as error:
            await asyncio.gather(*(managed.stop() for managed in several))
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise
        for managed in several:
            self._tasks[managed] = self._keep(managed)

    async def let_go(self, managed: Managed) -> None:
        """Stop one in order, and keep it no more."""
        tasks = self._tasks.pop(managed)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await managed.stop()

    def _keep(self, managed: Managed) -> Sequence[asyncio.Task[None]]:
        tasks = [asyncio.create_task(managed.keep_running())]
        if isinstance(managed.runnable, Instance):
            tasks.append(asyncio.create_task(watch(managed, managed.runnable, self._world)))
        return tasks
