"""RabbitMQ."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import aio_pika
import pytest

from colonnade.brokers.broker import Broker, BrokerUnavailable
from colonnade.brokers.rabbitmq import connect_to_rabbitmq
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.rabbitmq import RabbitMqServer
from colonnade.testing.conformance.broker import Taker, carried
from colonnade.testing.conformance.broker_servers import BrokerServerConformance, Serving
from colonnade.world import real_world
from tests.servers.running import where_it_runs

WORLD = real_world()
pytestmark = pytest.mark.timeout(180)  # seconds: Erlang starts twice, on a machine that may be busy


class TestRabbitMqBroker(BrokerServerConformance):
    """What every broker promises, of a real server."""

    @pytest.fixture(autouse=True)
    def _server(self, rabbit: RabbitMqServer) -> None:
        self._rabbit = rabbit

    def running_broker(self) -> AbstractAsyncContextManager[Broker]:
        return _running(self._rabbit.url)

    def serving(self) -> AbstractAsyncContextManager[Serving]:
        return _serving(self._rabbit)

    @pytest.mark.proof
    async def test_kill_after_kill_nothing_is_lost(self) -> None:
        """What one kill does not take, many do not."""
        await self.outlive(kills=5)


@asynccontextmanager
async def _running(url: str) -> AsyncIterator[Broker]:
    broker = await connect_to_rabbitmq(url, prefix=f"test{WORLD.ids.new().hex}")
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def _serving(server: RabbitMqServer) -> AsyncIterator[Serving]:
    prefix = f"test{WORLD.ids.new().hex}"

    async def put(topic: str, data: bytes) -> None:
        async with await aio_pika.connect(server.url) as connection:
            exchange = await (await connection.channel()).get_exchange(f"{prefix}.{topic}")
            await exchange.publish(aio_pika.Message(data), "")

    async def kill() -> None:
        for queue in [f"{prefix}.shop.events/{group}" for group in ("ordering", "mailing")]:
            await server.until_kept(queue)
        await where_it_runs(server, server.kill)

    async def start() -> None:
        await where_it_runs(server, server.start)

    try:
        yield Serving(partial(connect_to_rabbitmq, server.url, prefix=prefix), kill, start, put)
    finally:
        await start()


async def test_what_no_group_has_asked_for_holds_nothing_up(rabbit: RabbitMqServer) -> None:
    """It is acknowledged, so that its producer goes on; a group that comes later gets what is published then."""
    async with _running(rabbit.url) as broker:
        await broker.publish([carried(1)])
        taker = Taker()
        await broker.subscribe("ordering", ["shop.events"], taker.receive)
        await broker.publish([carried(2)])
        await taker.until(2)
        assert taker.seqs == {2}


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    """With what stands in the way."""
    with pytest.raises(BrokerUnavailable, match="RabbitMQ is not available"):
        await connect_to_rabbitmq(f"amqp://guest:guest@127.0.0.1:{free_port()}/")
