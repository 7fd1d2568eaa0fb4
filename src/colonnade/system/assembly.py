"""How one service is put together: its objects from its declarations and the engines, and what must run for it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from dishka import AsyncContainer

from colonnade.application import Ids, Mediator, Outbox, Replies, Sagas
from colonnade.brokers.broker import Subscription
from colonnade.messages import Message
from colonnade.messages.codec import MessageCodec
from colonnade.observability.foreground import Foreground
from colonnade.observability.health import Health, HealthCheck
from colonnade.persistence import DataDirectory, Reads, Tables
from colonnade.persistence.addresses import HANDLERS
from colonnade.persistence.execution import Execution
from colonnade.persistence.kinds import AggregateKind
from colonnade.persistence.outgoing import UnitOutbox, UnitReplies
from colonnade.persistence.quotas import EventQuota
from colonnade.persistence.repository import AggregateCache, EventSourcedRepository
from colonnade.persistence.slots import SLOTS
from colonnade.persistence.store import Store
from colonnade.persistence.tables.inline import UnitTables
from colonnade.persistence.tables.models import ReadModels
from colonnade.persistence.tables.reading import StoreReads
from colonnade.presentation import Api
from colonnade.presentation.service_app import ServiceApp
from colonnade.system.container import make_container, repository_of
from colonnade.system.declarations import Declarations
from colonnade.system.dispatch import InProcessDispatch
from colonnade.system.engines import Engines
from colonnade.system.errors import InvalidSystem, Mistake
from colonnade.system.mediation import MessageHandlers, RoutingMediator
from colonnade.system.opening import carry_out
from colonnade.system.producers import Producers
from colonnade.system.service import Service
from colonnade.system.topology import Topology, subscriber_name
from colonnade.workers.at_once import AtOnce
from colonnade.workers.commands import CommandConsumer
from colonnade.workers.consumers import Consumer, SubscriberConsumer
from colonnade.workers.horizon import Horizon
from colonnade.workers.lateness import Lateness
from colonnade.workers.leasing import Leasing
from colonnade.workers.ownership import Ownership
from colonnade.workers.projections import Projector
from colonnade.workers.pruning import Pruning
from colonnade.workers.receiving import Inbox
from colonnade.workers.registration import Registration
from colonnade.workers.relay import LEASE as RELAY_LEASE
from colonnade.workers.relay import Relay
from colonnade.workers.sagas.consumer import SagaConsumer
from colonnade.workers.sagas.instance import SagaInstance
from colonnade.workers.sagas.messages import consumer_of
from colonnade.workers.sagas.steering import UnitSagas
from colonnade.workers.sharing import Sharing
from colonnade.workers.timers import Timers
from colonnade.workers.worker import Worker
from colonnade.world import Clock, Randomness, Sleep, World

__all__ = ["TEND_EVERY_SECONDS", "Loop", "RunningService", "ServiceBuilder", "leasing_of"]

AGGREGATES_REMEMBERED = 2_000
"""How many aggregates of a service stay in memory between commands."""

TEND_EVERY_SECONDS = 2.0

LINES = "lines"
"""The work of handling messages, whose parts are the slots of their keys."""

Loop = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class RunningService:
    """One service at work."""

    name: str
    store: Store
    handlers: MessageHandlers
    models: ReadModels
    projectors: Sequence[Projector]
    relay: Relay
    worker: Worker
    sagas: Sequence[str]
    api: Api
    health: Health
    loops: Mapping[str, Loop]


class ServiceBuilder:
    """Builds one service of a process, whose other services' stores and handlers it is given."""

    def __init__(
        self,
        service: Service,
        topology: Topology,
        codec: MessageCodec,
        stores: Mapping[str, Store],
        engines: Engines,
        world: World,
        foreground: Foreground,
        owners: dict[type[Message], MessageHandlers],
        resources: AsyncExitStack,
    ) -> None:
        self.name = service.name
        self.service = service
        self._topology = topology
        self._declared: Declarations = topology.declared[service.name]
        self._codec = codec
        self._stores = stores
        self._store = stores[service.name]
        self._engines = engines
        self._world = world
        self._foreground = foreground
        self._owners = owners
        self._resources = resources
        self._tenant = engines.tenant.name if engines.tenant is not None else None
        self._routes = topology.routes(service.name)
        # Another instance may have written since: a handler must not refuse by what was
        self._cache = AggregateCache(AGGREGATES_REMEMBERED)
        self._models = ReadModels(service.name, self._store, world)
        self._at_once = AtOnce(self._store, world, self._tenant, foreground)
        self._execution = Execution(
            self._store,
            codec,
            self._routes,
            self._declared.aggregates,
            self._cache,
            world,
            self._models.changed,
            shared=engines.shared,
            commit=self._at_once.commit,
        )

    async def build(self) -> RunningService:
        """Build the service's objects, and listen to the broker."""
        if self._topology.caches(self._stores.keys()):  # of this process: others have tables of their own
            self._models.on_change(self._changed)
        if self.service.tables is not None:
            line = self._topology.lines[self.name]
            await self._models.own(line.tables, line.code)
        container = self._container()
        self._resources.push_async_callback(container.close)
        projectors = [
            Projector(
                await container.get(declared.kind),
                [self._codec.names.name_of(event) for event in declared.events],
                self._store,
                self._codec,
                self._models,
                self._world,
            )
            for declared in self._declared.projections
        ]
        for projector in projectors:
            await projector.open()
        handlers = MessageHandlers(
            self.name,
            {declared.message: await container.get(declared.kind) for declared in self._declared.handlers},
            self._execution,
        )
        self.handlers = handlers
        self._owners.update({declared.message: handlers for declared in self._declared.handlers})
        consumers = await self._consumers(container, handlers)
        worker = Worker(
            self.name, self._store, consumers, self._world, self._foreground, tenant=self._tenant, at_once=self._at_once
        )
        relay = Relay(
            self.name,
            self._store,
            self._engines.broker,
            self._world,
            self._engines.owner,
            self._engines.lease_seconds,
        )
        timers = Timers(self.name, self._store, self._world)
        pruning = Pruning(self._store, self._world, self._engines.retention)
        interested = self._topology.interested(self.name)
        producers = Producers(self.name, self._topology, self._stores, self._engines.elsewhere)
        inbox = Inbox(
            self.name,
            self._store,
            self._world,
            interested,
            producers.refetch,
            producers.ends,
            tenant=self._tenant,
            histories=producers.histories,
            at_once=self._at_once,
            all_lines=lambda: worker.has_all_lines,
        )
        receiving: dict[str, Loop] = {}
        if self._engines.shared:
            # A chain is received by one: its next message may not come to another before this one is written down
            receiving[f"{self.name}.receiving"] = self._alone("receiving", lambda: self._receive(inbox))
        else:
            self._resources.push_async_callback((await self._subscribed(inbox)).close)
        api = self.service.api or Api()
        dispatch = InProcessDispatch(self.name, self._store, handlers, self._topology, self._quota())
        self.app = ServiceApp(api, dispatch, self._world, self._engines.queries, self._tenant)
        sagas = [consumer for consumer in consumers.values() if isinstance(consumer, SagaConsumer)]
        for saga in sagas:
            await saga.suspended.look()
        registration = Registration(self.name, self._store.versions, self._world)
        horizon = Horizon(self.name, self._store.log, self._world)
        lateness = Lateness(self.name, self._store.inbox, self._world, worker.at_work_seconds)
        checks: list[HealthCheck] = [
            lambda: self._store.health(self.name),
            registration.health,
            horizon.health,
            lateness.health,
            relay.health,
            worker.health,
            timers.health,
            inbox.health,
            *(p.health for p in projectors),
        ]
        checks += [saga.suspended.health for saga in sagas]
        watching: dict[str, Loop] = {}
        if self._engines.shared:
            ownership = Ownership(self.name, self._leased(projectors), self._store.leases, self._world)
            checks.append(ownership.health)
            watching[f"{self.name}.ownership"] = ownership.run
        loops: dict[str, Loop] = {
            f"{self.name}.registration": registration.run,
            f"{self.name}.horizon": horizon.run,
            f"{self.name}.lateness": lateness.run,
            f"{self.name}.relay": relay.run,
            f"{self.name}.worker": self._shared(worker),
            f"{self.name}.timers": self._alone("timers", timers.run),
            f"{self.name}.inbox": lambda: self._every(TEND_EVERY_SECONDS, inbox.tend),
            **receiving,
            **watching,
            f"{self.name}.pruning": self._alone("pruning", pruning.run),
            **{
                f"{self.name}.projection.{projector.name}": self._alone(
                    _lease_of(projector), projector.run, projector.look
                )
                for projector in projectors
            },
        }
        return RunningService(
            self.name,
            self._store,
            handlers,
            self._models,
            projectors,
            relay,
            worker,
            [saga.kind.__name__ for saga in self._declared.sagas],
            api,
            Health(self._world.clock, checks),
            loops,
        )

    async def _subscribed(self, inbox: Inbox) -> Subscription:
        return await self._engines.broker.subscribe(self.name, self._topology.topics(self.name), inbox.receive)

    async def _receive(self, inbox: Inbox) -> None:
        inbox.forget()
        subscription = await self._subscribed(inbox)
        try:
            await asyncio.Event().wait()
        finally:
            await subscription.close()

    async def open_for_business(self) -> None:
        """Carry out the commands with which a new store begins, each once."""
        if self.service.opening is not None:
            await carry_out(self.name, self.service.opening, self.handlers, self._store, self._world, self._tenant)

    def _quota(self) -> EventQuota | None:
        tenant = self._engines.tenant
        if tenant is None or tenant.events is None:
            return None
        return EventQuota(tenant.name, self.name, tenant.events, self._store, self._world.clock)

    async def _consumers(self, container: AsyncContainer, handlers: MessageHandlers) -> Mapping[str, Consumer]:
        consumers: dict[str, Consumer] = {
            HANDLERS: CommandConsumer(
                handlers.execute, self._store, self._codec, self._routes, self._world, self._at_once.commit
            )
        }
        for declared in self._declared.subscribers:
            name = subscriber_name(declared.kind)
            consumers[name] = SubscriberConsumer(
                name,
                await container.get(declared.kind),
                handlers.execute,
                self._store,
                self._codec,
                self._world,
            )
        for declared in self._declared.sagas:
            name = declared.kind.__name__
            kind = AggregateKind(SagaInstance, _saga_instance, name)
            consumers[consumer_of(name)] = SagaConsumer(
                name,
                await container.get(declared.kind),
                EventSourcedRepository(kind, self._store.log, self._codec, self._cache),
                self._execution,
                self._store,
                self._codec,
                self._routes,
                self._world,
            )
        return consumers

    def _container(self) -> AsyncContainer:
        world = self._world
        ports: dict[Any, object] = {
            World: world,
            Clock: world.clock,
            Randomness: world.randomness,
            Ids: world.ids,
            Sleep: world.sleep,
            DataDirectory: self._engines.data,
            Mediator: RoutingMediator(
                self.name, self._owners, self._topology.handled_by, self._engines.elsewhere, world, self._tenant
            ),
            Outbox: UnitOutbox(self._routes, self._codec, world),
            Replies: UnitReplies(self._store, self._routes, world),
            Sagas: UnitSagas(self.name, world),
            Reads: StoreReads(self._models),
            Tables: UnitTables(self._models),
        }
        for kind in self._declared.aggregates:
            ports[repository_of(kind)] = EventSourcedRepository(kind, self._store.log, self._codec, self._cache)
        try:
            return make_container(self._declared, ports)
        except Mistake as mistake:
            raise InvalidSystem(self._topology.system.name, [mistake]) from mistake

    async def _changed(self, tables: Collection[str]) -> None:
        await self._engines.queries.changed([f"{self.name}.{table}" for table in tables])

    def _leased(self, projectors: Sequence[Projector]) -> Collection[str]:
        """The names of what somebody must hold."""
        alone = (RELAY_LEASE, "receiving", "timers", "pruning")
        lines = (f"{LINES}/{slot}" for slot in range(SLOTS))
        return [*alone, *lines, *(_lease_of(projector) for projector in projectors)]

    def _alone(self, lease: str, work: Loop, meanwhile: Loop | None = None) -> Loop:
        """`work`, which one instance does for all of them."""
        if not self._engines.shared:
            return work
        leasing = leasing_of(self._store, self._engines, self._world)
        return lambda: leasing.run(lease, work, meanwhile)

    def _shared(self, worker: Worker) -> Loop:
        """The handling of messages, whose lines the instances divide among them."""
        if not self._engines.shared:
            return worker.run
        owner, seconds = self._engines.owner, self._engines.lease_seconds
        sharing = Sharing(LINES, SLOTS, self._store, owner, seconds, self._world, worker.work_on)
        return lambda: sharing.run(worker.run)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._world.sleep(seconds)
            await work()


def _lease_of(projector: Projector) -> str:
    return f"projection.{projector.identity}"


def leasing_of(store: Store, engines: Engines, world: World) -> Leasing:
    """The leases by which the instances of a service divide what one does for all."""
    return Leasing(store, engines.owner, engines.lease_seconds, world)


def _saga_instance(id: UUID | str | int) -> SagaInstance:
    assert isinstance(id, UUID)
    return SagaInstance(id)
