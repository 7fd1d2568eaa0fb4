"""Instances of versions that the code does not have any more: they wait, and are named while they do."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from colonnade.messages.codec import MessageCodec
from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.store import Store
from colonnade.workers.sagas.instance import SagaInstance
from colonnade.workers.sagas.messages import timers_of

__all__ = ["SuspendedInstances"]

NAMED = 3
"""How many instances a health state names."""


class SuspendedInstances:
    """The live instances of one definition that began with a version older than `oldest_version`."""

    def __init__(self, service: str, saga: str, oldest_version: int, store: Store, codec: MessageCodec) -> None:
        self._service = service
        self._saga = saga
        self._oldest_version = oldest_version
        self._store = store
        self._codec = codec
        self._versions: dict[UUID, int] = {}

    def health(self) -> Sequence[HealthState]:
        """That there are some, the first of them by name."""
        if not self._versions:
            return ()
        first = sorted(self._versions.items())[:NAMED]
        told = [f"{self._saga}/{id} began with version {version}, which is retired" for id, version in first]
        if more := len(self._versions) - len(first):
            told.append(f"{more} more are like them")
        remedy = "bring the version back until it has ended, or close it by hand (colonnade sagas close)"
        detail = f"{'; '.join(told)}: suspended; {remedy}."
        return (HealthState(f"{self._service}.saga.{self._saga}", Severity.DEGRADED, detail),)

    def judge(self, instance: SagaInstance) -> bool:
        """Whether `instance` is suspended as it stands now."""
        version = instance.plan.saga_version
        suspended = version < self._oldest_version and instance.end is None
        if suspended:
            self._versions[instance.id] = version
        else:
            self._versions.pop(instance.id, None)
        return suspended

    async def look(self) -> None:
        """Find those for which nothing has come yet: an armed timer waits for the answer with each of them."""
        if self._oldest_version <= 1:
            return
        prefix, after, looked = timers_of(self._saga), "", None
        while names := await self._store.timers.names(prefix, after):
            after = names[-1]
            for name in names:
                key = name.removeprefix(prefix).partition("/")[0]
                if key != looked:  # the timers of one instance follow each other
                    self.judge(await self._instance(UUID(key)))
                    looked = key

    async def _instance(self, id: UUID) -> SagaInstance:
        instance, after = SagaInstance(id), 0
        while events := await self._store.log.stream(f"{self._saga}/{id}", after):
            after = events[-1].version
            decoded: list[Any] = [self._codec.decode(event.name, event.schema, event.data) for event in events]
            instance.replay(decoded)
            if instance.plan.saga_version >= self._oldest_version:
                break  # whether it has ended makes no difference
        return instance
