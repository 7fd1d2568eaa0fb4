"""RabbitMQ from Debian's package."""

from pathlib import Path

import aio_pika
import pytest

from colonnade.system.hosts.servers import rabbitmq as module
from colonnade.system.hosts.servers.rabbitmq import RabbitMqServer, rabbitmq
from colonnade.world import real_world
from tests.servers.starters import all_end, ends_with_its_starter

WORLD = real_world()
pytestmark = [
    pytest.mark.timeout(180),  # seconds: Erlang starts twice a test, on a machine that may be busy
    pytest.mark.usefixtures("rabbit"),  # which skips where it is not installed
]


async def test_what_was_confirmed_outlives_a_kill(tmp_path: Path) -> None:
    """Killed with -9 and started again, on another port, it has the quorum queue and its message."""
    async with rabbitmq(tmp_path, WORLD) as server:
        connection = await aio_pika.connect(server.url)
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue("shop", durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(b"one", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, "shop")
        await server.until_kept("shop")
        await server.kill()
        assert not server.is_running
        await connection.close()
    assert not server.mapper.is_running
    async with rabbitmq(tmp_path, WORLD) as again:
        assert again.port != server.port
        connection = await aio_pika.connect(again.url)
        queue = await (await connection.channel()).get_queue("shop")
        kept = await queue.get(timeout=30)
        assert kept is not None
        assert kept.body == b"one"
        await connection.close()
    assert not again.is_running


async def test_two_nodes_run_side_by_side(tmp_path: Path, rabbit: RabbitMqServer) -> None:
    """Each on ports and in folders of its own, and neither is taken for the other."""
    assert await rabbit.answers()
    async with rabbitmq(tmp_path, WORLD) as other:
        assert await other.answers()
        other.port = rabbit.port
        assert not await other.answers()


def test_nothing_is_left_when_its_starter_is_killed(tmp_path: Path) -> None:
    """The node ends with it, and so do its port mapper and all that it started."""
    assert ends_with_its_starter(module.__name__, "rabbitmq", tmp_path)
    assert all_end(f"HOME={tmp_path}")
