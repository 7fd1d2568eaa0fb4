"""Kafka from its jars."""

from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from colonnade.system.hosts.servers.kafka import KafkaServer, kafka
from colonnade.world import real_world

WORLD = real_world()
pytestmark = [
    pytest.mark.timeout(180),  # seconds: Java starts three times, on a machine that may be busy
    pytest.mark.usefixtures("kafka_broker"),  # which skips where it is not there
]


async def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    """Killed with -9 and started again, on another port, it has the topic and its message."""
    async with kafka(tmp_path, WORLD) as server:
        admin = AIOKafkaAdminClient(bootstrap_servers=server.url)
        await admin.start()
        await admin.create_topics([NewTopic("shop", num_partitions=1, replication_factor=1)])
        await admin.close()
        async with AIOKafkaProducer(bootstrap_servers=server.url, acks="all", enable_idempotence=True) as producer:
            await producer.send_and_wait("shop", b"one")
        await server.kill()
        assert not server.is_running
    async with kafka(tmp_path, WORLD) as again:
        assert again.port != server.port
        consumer = AIOKafkaConsumer("shop", bootstrap_servers=again.url, auto_offset_reset="earliest", group_id="g")
        async with consumer:
            assert (await consumer.getone()).value == b"one"
            await consumer.commit()


async def test_another_server_on_its_port_is_not_taken_for_it(tmp_path: Path, kafka_broker: KafkaServer) -> None:
    """A server is known by its cluster."""
    assert await kafka_broker.answers()
    other = KafkaServer(tmp_path, WORLD, port=kafka_broker.port)
    await other.prepare()
    assert not await other.answers()
