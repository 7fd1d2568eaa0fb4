"""RabbitMQ: a fanout exchange a topic, a quorum queue for each group that listens to it.

What no group has asked for yet is confirmed and dropped: a new group begins with its producers' logs. What a group has
asked for waits in its queue, durable, until a member has taken it over, however often that fails.
"""

import asyncio
from collections.abc import Sequence

from aio_pika import DeliveryMode, ExchangeType, Message, connect
from aio_pika.abc import AbstractConnection, AbstractExchange
from aio_pika.exceptions import AMQPError

from colonnade.brokers.broker import BrokerUnavailable, Carried, Receiver, Subscription
from colonnade.brokers.cloudevents import CONTENT_TYPE, event_of
from colonnade.brokers.rabbitmq_member import Member
from colonnade.observability.logs import get_logger

__all__ = ["RabbitMqBroker", "connect_to_rabbitmq"]

CONNECT_SECONDS = 5.0
"""How long a connection may take."""

ANSWER_SECONDS = 10.0
"""How long the server may take to confirm what was published; it lets us wait where its disk or memory is full."""

HEARTBEAT_SECONDS = 10
"""A server that is silent for so long is gone."""

_CLOSE_SECONDS = 1.0
_FAILURES = (AMQPError, OSError, TimeoutError, RuntimeError)  # aiormq says by a RuntimeError that a channel is closed

_log = get_logger()


async def connect_to_rabbitmq(url: str, *, prefix: str = "colonnade") -> "RabbitMqBroker":
    """A broker on the server at `url`, whose exchanges and queues begin with `prefix`; raises `BrokerUnavailable`."""
    broker = RabbitMqBroker(url, prefix)
    try:
        await broker.connect()
    except _FAILURES as error:
        raise BrokerUnavailable("RabbitMQ", _sentence(error)) from error
    return broker


class RabbitMqBroker:
    """Publishes many messages at a time, and returns when all are confirmed.

    Publishing has one connection and each subscription another, for the server stops reading from those that publish
    when it has too much. A connection that broke is made again by the next publication.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._connection: AbstractConnection | None = None
        self._connecting = asyncio.Lock()
        self._exchanges: dict[str, AbstractExchange] = {}
        self._members: set[Member] = set()
        self._closed = False

    async def connect(self) -> None:
        """Connect for publishing; raises what the client raises."""
        self._connection = await self._open()
        self._channel = await self._connection.channel(publisher_confirms=True)

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Return when the server has every message in its files; raises `BrokerUnavailable`."""
        if self._closed:
            raise BrokerUnavailable("RabbitMQ", "it is closed")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                exchanges = {topic: await self._exchange(topic) for topic in {each.topic for each in messages}}
                await asyncio.gather(
                    *(exchanges[each.topic].publish(_wired(each), "", mandatory=False) for each in messages)
                )
        except _FAILURES as error:
            await self._disconnect()
            raise BrokerUnavailable("RabbitMQ", _sentence(error)) from error

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """Hand the messages of `topics` to `receive`; raises `BrokerUnavailable`."""
        if self._closed:
            raise BrokerUnavailable("RabbitMQ", "it is closed")
        queues = {f"{self._prefix}.{topic}/{group}": (topic, f"{self._prefix}.{topic}") for topic in topics}
        member = Member(self._open, queues, receive, self._members.discard)
        try:
            await member.open()
        except _FAILURES as error:
            await member.close()
            raise BrokerUnavailable("RabbitMQ", _sentence(error)) from error
        self._members.add(member)
        return member

    async def close(self) -> None:
        """Stop delivering and disconnect."""
        self._closed = True
        await asyncio.gather(*(member.close() for member in list(self._members)))
        await self._disconnect()

    async def _open(self) -> AbstractConnection:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await connect(self._url, heartbeat=HEARTBEAT_SECONDS)

    async def _exchange(self, topic: str) -> AbstractExchange:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed or self._channel.is_closed:
                self._exchanges.clear()
                await self.connect()
            if topic not in self._exchanges:
                self._exchanges[topic] = await self._channel.declare_exchange(
                    f"{self._prefix}.{topic}", ExchangeType.FANOUT, durable=True
                )
        return self._exchanges[topic]

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._exchanges.clear()
        if connection is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await connection.close()
        except _FAILURES as error:
            _log.debug("rabbitmq", cause=_sentence(error))


def _wired(message: Carried) -> Message:
    return Message(event_of(message), content_type=CONTENT_TYPE, delivery_mode=DeliveryMode.PERSISTENT)


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__
