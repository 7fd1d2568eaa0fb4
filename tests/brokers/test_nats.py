"""NATS JetStream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from nats import connect

from colonnade.brokers.broker import Broker, BrokerUnavailable
from colonnade.brokers.nats import connect_to_nats
from colonnade.system.hosts.servers.nats import NatsServer, nats_server
from colonnade.system.hosts.servers.ports import free_port
from colonnade.testing.conformance.broker import Taker, carried, wait_until
from colonnade.testing.conformance.broker_servers import BrokerServerConformance, Serving
from colonnade.world import real_world
from tests.servers.running import where_it_runs

WORLD = real_world()


class TestNatsBroker(BrokerServerConformance):
    """What every broker promises, of a real server."""

    @pytest.fixture(autouse=True)
    def _server(self, nats: NatsServer) -> None:
        self._nats = nats

    def running_broker(self) -> AbstractAsyncContextManager[Broker]:
        return _running(self._nats.url)

    def serving(self) -> AbstractAsyncContextManager[Serving]:
        return _serving(self._nats)

    @pytest.mark.proof
    async def test_kill_after_kill_nothing_is_lost(self) -> None:
        """What one kill does not take, many do not."""
        await self.outlive(kills=20)


@asynccontextmanager
async def _running(url: str) -> AsyncIterator[Broker]:
    broker = await connect_to_nats(url, WORLD, prefix=f"test{WORLD.ids.new().hex}")
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def _serving(server: NatsServer) -> AsyncIterator[Serving]:
    prefix = f"test{WORLD.ids.new().hex}"

    async def put(topic: str, data: bytes) -> None:
        client = await connect(server.url)
        await client.jetstream().publish(f"{prefix}.{topic}", data)
        await client.close()

    async def kill() -> None:
        await where_it_runs(server, server.kill)

    async def start() -> None:
        await where_it_runs(server, server.start)

    try:
        yield Serving(partial(connect_to_nats, server.url, WORLD, prefix=prefix), kill, start, put)
    finally:
        await start()


async def test_a_server_that_lost_all_that_it_had_is_used_again(tmp_path: Path) -> None:
    """Its streams and consumers are made anew, by publisher and members themselves."""
    port = free_port()
    async with nats_server(tmp_path / "one", WORLD, port=port) as server:
        broker = await connect_to_nats(server.url, WORLD)
        taker = Taker()
        await broker.subscribe("ordering", ["shop.events"], taker.receive)
        await TestNatsBroker().publish(broker, carried(1))
        await taker.until(1)
        await server.kill()
    async with nats_server(tmp_path / "two", WORLD, port=port):
        publishing = asyncio.create_task(_publish_on(broker))
        await wait_until(lambda: len(taker.seqs) > 1, taker.changed)
        publishing.cancel()
        await asyncio.wait([publishing])
        await broker.close()


async def _publish_on(broker: Broker) -> None:
    # What comes before the group's consumer is there again is lost, and mended by the inbox
    for seq in count(2):
        await TestNatsBroker().publish(broker, carried(seq))


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    """With what stands in the way."""
    with pytest.raises(BrokerUnavailable, match="NATS is not available"):
        await connect_to_nats(f"nats://127.0.0.1:{free_port()}", WORLD)
