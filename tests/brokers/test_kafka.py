"""Kafka."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from colonnade.brokers import kafka
from colonnade.brokers.broker import Broker, BrokerUnavailable
from colonnade.brokers.kafka import connect_to_kafka
from colonnade.system.hosts.servers.kafka import KafkaServer
from colonnade.system.hosts.servers.ports import free_port
from colonnade.testing.conformance.broker import Taker, carried
from colonnade.testing.conformance.broker_servers import BrokerServerConformance, Serving
from colonnade.world import real_world
from tests.servers.running import where_it_runs

WORLD = real_world()
pytestmark = pytest.mark.timeout(180)  # seconds: Java starts twice, on a machine that may be busy

SHORT_ANSWER_SECONDS = 4.0
"""So long is waited for a server that was killed, where a cluster is given more time to find another leader."""


class TestKafkaBroker(BrokerServerConformance):
    """What every broker promises, of a real server."""

    @pytest.fixture(autouse=True)
    def _server(self, kafka_broker: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self._kafka = kafka_broker
        monkeypatch.setattr(kafka, "ANSWER_SECONDS", SHORT_ANSWER_SECONDS)

    def running_broker(self) -> AbstractAsyncContextManager[Broker]:
        return _running(self._kafka.url)

    def serving(self) -> AbstractAsyncContextManager[Serving]:
        return _serving(self._kafka)

    @pytest.mark.proof
    async def test_kill_after_kill_nothing_is_lost(self) -> None:
        """What one kill does not take, many do not."""
        await self.outlive(kills=5)


@asynccontextmanager
async def _running(url: str) -> AsyncIterator[Broker]:
    broker = await connect_to_kafka(url, prefix=f"test{WORLD.ids.new().hex}")
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def _serving(server: KafkaServer) -> AsyncIterator[Serving]:
    prefix = f"test{WORLD.ids.new().hex}"

    async def put(topic: str, data: bytes) -> None:
        async with AIOKafkaProducer(bootstrap_servers=server.url) as producer:
            await producer.send_and_wait(f"{prefix}.{topic}", data)

    async def kill() -> None:
        await where_it_runs(server, server.kill)

    async def start() -> None:
        await where_it_runs(server, server.start)

    try:
        yield Serving(partial(connect_to_kafka, server.url, prefix=prefix), kill, start, put)
    finally:
        await start()


async def test_messages_of_a_key_keep_their_order(kafka_broker: KafkaServer) -> None:
    """They are in one partition; other keys are in others."""
    async with _running(kafka_broker.url) as broker:
        taker = Taker()
        await broker.subscribe("ordering", ["shop.events"], taker.receive)
        await broker.publish([replace(carried(seq), key=f"Order/{seq % 3}") for seq in range(1, 301)])
        await taker.until(*range(1, 301))
        for key in range(3):
            seqs = [message.seq for message in taker.taken if message.key == f"Order/{key}"]
            assert seqs == sorted(seqs)


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    """With what stands in the way."""
    with pytest.raises(BrokerUnavailable, match="Kafka is not available"):
        await connect_to_kafka(f"127.0.0.1:{free_port()}")
