"""NATS JetStream."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from nats import connect

from colonnade.brokers.broker import Broker, BrokerUnavailable
from colonnade.brokers.nats import connect_to_nats
from colonnade.system.hosts.servers.nats import NatsServer, nats_server
from colonnade.system.hosts.servers.ports import free_port
from colonnade.testing.conformance.broker import BrokerConformance, Taker, carried
from colonnade.world import real_world


class TestNatsBroker(BrokerConformance):
    """What every broker promises, of a real server."""

    @pytest.fixture(autouse=True)
    def _server(self, nats: NatsServer) -> None:
        self._url = nats.url

    def running_broker(self) -> AbstractAsyncContextManager[Broker]:
        return _running(self._url)


@asynccontextmanager
async def _running(url: str) -> AsyncIterator[Broker]:
    world = real_world()
    broker = await connect_to_nats(url, world, prefix=f"test{world.ids.new().hex}")
    try:
        yield broker
    finally:
        await broker.close()


async def test_a_killed_server_loses_nothing_and_nobody_has_to_come_again(tmp_path: Path) -> None:
    """What it acknowledged arrives after kill -9 and a new start; publisher and members go on by themselves."""
    world = real_world()
    async with nats_server(tmp_path, world) as server:
        broker = await connect_to_nats(server.url, world)
        failing, well = Taker(), Taker()
        first = await broker.subscribe("slow", ["shop.events"], failing.receive)
        await first.close()  # its messages stay at the server
        await broker.subscribe("ordering", ["shop.events"], well.receive)
        await broker.publish([carried(seq) for seq in range(1, 101)])
        await server.kill()
        with pytest.raises(BrokerUnavailable, match="NATS is not available"):
            await broker.publish([carried(101)])
        await server.start()
        suite = TestNatsBroker()
        await suite.publish(broker, carried(101))
        await well.until(*range(1, 102))
        await broker.subscribe("slow", ["shop.events"], failing.receive)
        await failing.until(*range(1, 102))
        await broker.close()


async def test_what_is_no_message_is_handed_over_as_it_is(nats: NatsServer) -> None:
    """With where it lay and what is wrong, so that it can be kept aside; what comes after it arrives."""
    world = real_world()
    prefix = f"test{world.ids.new().hex}"
    broker = await connect_to_nats(nats.url, world, prefix=prefix)
    taker = Taker()
    await broker.subscribe("ordering", ["shop.events"], taker.receive)
    client = await connect(nats.url)
    await client.jetstream().publish(f"{prefix}.shop.events", b"\xff{")
    await client.close()
    await TestNatsBroker().publish(broker, carried(1))
    await taker.until(1)
    (unreadable,) = taker.unreadable
    assert (unreadable.origin, unreadable.data) == ("nats/shop.events", b"\xff{")
    await broker.close()


async def test_a_server_that_is_away_is_told_at_once() -> None:
    """With what stands in the way."""
    with pytest.raises(BrokerUnavailable, match="NATS is not available"):
        await connect_to_nats(f"nats://127.0.0.1:{free_port()}", real_world())
