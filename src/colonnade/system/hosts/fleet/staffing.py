"""How many instances each service has, and which: they are added, removed and replaced while the others answer."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from colonnade.system.admin.operations import Operation, OperationFailed, ReplaceInstances, ScaleService
from colonnade.system.admin.reports import Finished, Progress, Report
from colonnade.system.hosts.fleet.instance import START_SECONDS, Instance
from colonnade.system.hosts.fleet.keeping import Keeping
from colonnade.system.hosts.fleet.managed import Managed
from colonnade.system.hosts.fleet.reaching import can_be_spared
from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.world import World

__all__ = ["Staffing"]

_LOOK_SECONDS = 0.05


class Staffing:
    """The instances of the services among `running`, which it changes; `made` makes one by its service and name.

    One thing is done at a time, and what was begun with one instance goes on to its end, whoever has gone meanwhile.
    """

    def __init__(
        self,
        services: Collection[str],
        running: list[Managed],
        made: Callable[[str, str], Managed],
        keeping: Keeping,
        world: World,
    ) -> None:
        self._services = services
        self._running = running
        self._made = made
        self._keeping = keeping
        self._world = world
        self._turn = asyncio.Lock()
        self._acts: set[asyncio.Task[None]] = set()

    async def begin(self, replicas: Mapping[str, int]) -> None:
        """Start as many of each service as `replicas` says, else one; raises `ServerFailed`."""
        first = [
            self._made(service, name)
            for service in self._services
            for name in _first_names(service, replicas.get(service, 1))
        ]
        self._running += first
        await self._keeping.start(first)

    async def perform(self, operation: Operation) -> AsyncGenerator[Report, None]:
        """Carry out what may be done to a fleet, telling about it; raises `OperationFailed`."""
        match operation:
            case ScaleService(service=service, instances=instances):
                self._check(service)
                before = len(self.of(service))
                steps = self.scale(service, instances)
                told = f"{service} has {instances} {'instance' if instances == 1 else 'instances'}, it had {before}."
            case ReplaceInstances(service=service):
                if service is not None:
                    self._check(service)
                steps = self.replace(service)
                told = f"All instances{f' of {service}' if service is not None else ''} are replaced."
            case _:
                raise OperationFailed("A fleet is scaled and replaced here; this is done on its stores.")
        done = 0
        try:
            async for total in steps:
                done += 1
                yield Progress(done, total)
        except ServerFailed as error:
            raise OperationFailed(str(error)) from error
        yield Finished(told, done)

    async def scale(self, service: str, instances: int) -> AsyncGenerator[int, None]:
        """Add or remove instances until there are so many; after each it is told how many there were to do.

        Raises `ServerFailed` for one that does not start, or whose place nobody else takes.
        """
        async with self._turn:
            total = abs(instances - len(self.of(service)))
            while (there := len(self.of(service))) != instances:
                await self._to_its_end(self._add(service) if there < instances else self._remove(self.of(service)[-1]))
                yield total

    async def replace(self, service: str | None = None) -> AsyncGenerator[int, None]:
        """Start every instance, or those of one service, anew: one after the other, so that others answer meanwhile.

        After each it is told how many there were to do. A new process has the code that is there when it starts.
        Raises `ServerFailed` for one that does not come again, and leaves the rest as they are.
        """
        async with self._turn:
            chosen = [each for name in self._services if service in (None, name) for each in self.of(name)]
            for managed in chosen:
                await self._to_its_end(self._replace(managed))
                yield len(chosen)

    def of(self, service: str) -> Sequence[Managed]:
        """The instances of a service."""
        return [
            each for each in self._running if isinstance(each.runnable, Instance) and each.runnable.service == service
        ]

    async def close(self) -> None:
        """Break off what is being done."""
        for act in self._acts:
            act.cancel()
        if self._acts:
            await asyncio.wait(self._acts)

    def _check(self, service: str) -> None:
        if service not in self._services:
            raise OperationFailed(f"There is no service {service}; there are {', '.join(self._services)}.")

    async def _to_its_end(self, act: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(act)
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)
        await asyncio.shield(task)

    async def _add(self, service: str) -> None:
        taken = {each.name for each in self._running}
        name = next(each for each in _names(service, taken) if each not in taken)
        managed = self._made(service, name)
        self._running.insert(self._running.index(self.of(service)[-1]) + 1, managed)
        try:
            await self._keeping.start([managed])
        except BaseException:
            self._running.remove(managed)
            raise

    async def _remove(self, managed: Managed) -> None:
        await self._until_others_answer(managed)
        await self._keeping.let_go(managed)
        self._running.remove(managed)

    async def _replace(self, managed: Managed) -> None:
        await self._until_others_answer(managed)
        await managed.replace()

    async def _until_others_answer(self, managed: Managed) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not can_be_spared(managed, self._running):
                    await self._world.sleep(_LOOK_SECONDS)
        except TimeoutError:
            reason = f"it is not stopped, as no other of its service was ready within {START_SECONDS:.0f} s"
            raise managed.runnable.child.failed(reason) from None


def _first_names(service: str, instances: int) -> Sequence[str]:
    """One that is alone is called as its service is."""
    return [service] if instances == 1 else [f"{service}-{number}" for number in range(1, instances + 1)]


def _names(service: str, taken: Collection[str]) -> Iterator[str]:
    """Names for more: one that has no number is the first."""
    return (f"{service}-{number}" for number in count(2 if service in taken else 1))
