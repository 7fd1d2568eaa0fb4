"""A member of a group on RabbitMQ: takes over in batches what the server sends ahead, then acknowledges."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from colonnade.brokers.broker import Receiver
from colonnade.brokers.cloudevents import carried_of
from colonnade.brokers.persisting import persist
from colonnade.observability.logs import get_logger

__all__ = ["BATCH_MESSAGES", "Member"]

BATCH_MESSAGES = 256
"""So many messages are handed over at a time."""

PREFETCH_MESSAGES = 2 * BATCH_MESSAGES
"""So many of a queue the server sends before they are acknowledged; those at hand and the next."""

_CLOSE_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 2.0
_NO_LIMIT_KNOWN_SINCE = 4
"""The version that gives up a message after 20 deliveries unless it is told not to; before, none is given up."""

_log = get_logger()


class Member:
    """Receives from one queue a topic; `queues` says of each its topic and its exchange.

    It has a connection of its own, and makes another when that breaks; what was not acknowledged comes again.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AbstractConnection]],
        queues: Mapping[str, tuple[str, str]],
        receive: Receiver,
        closed: Callable[["Member"], None],
    ) -> None:
        self._connect = connect
        self._queues = queues
        self._receive = receive
        self._left = closed
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._waiting: list[tuple[str, AbstractIncomingMessage]] = []
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin; raises what the client raises."""
        await self._join()
        self._task = asyncio.create_task(persist(self._step, self._closing, _LONGEST_WAIT_SECONDS))

    async def close(self) -> None:
        """Receive nothing more; what is being received is finished, the rest goes to other members at once."""
        self._closing.set()
        self._changed.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._leave()
        self._left(self)

    async def _join(self) -> None:
        self._waiting = []
        connection = self._connection = await self._connect()
        channel = self._channel = await connection.channel(publisher_confirms=False)
        channel.close_callbacks.add(self._broke)
        await channel.set_qos(prefetch_count=PREFETCH_MESSAGES)
        limit = _limit(connection)
        for name, (topic, exchange_name) in self._queues.items():
            exchange = await channel.declare_exchange(exchange_name, ExchangeType.FANOUT, durable=True)
            queue = await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum", **limit})
            await queue.bind(exchange)
            await queue.consume(partial(self._came, channel, topic))

    async def _came(self, channel: AbstractChannel, topic: str, message: AbstractIncomingMessage) -> None:
        if channel is self._channel:
            self._waiting.append((topic, message))
            self._changed.set()

    def _broke(self, *_: object) -> None:
        self._changed.set()

    async def _step(self) -> None:
        self._changed.clear()
        if self._channel is None or self._channel.is_closed:
            await self._leave()
            await self._join()
        if not self._waiting:
            await self._changed.wait()
            return
        batch = self._waiting[:BATCH_MESSAGES]
        await self._receive([carried_of(topic, each.body, f"rabbitmq/{topic}") for topic, each in batch])
        del self._waiting[: len(batch)]
        # They were sent in this order, over this channel, and all before them are acknowledged
        await batch[-1][1].ack(multiple=True)

    async def _leave(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        self._waiting = []
        if connection is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await connection.close()
        except Exception as error:  # it is gone, whatever the client says of it
            _log.debug("rabbitmq", cause=str(error) or type(error).__name__)


def _limit(connection: AbstractConnection) -> dict[str, int]:
    transport = connection.transport
    properties = transport.connection.server_properties if transport else {}
    version = str(properties.get("version", "0"))
    major = version.partition(".")[0]
    return {"x-delivery-limit": -1} if major.isdigit() and int(major) >= _NO_LIMIT_KNOWN_SINCE else {}
