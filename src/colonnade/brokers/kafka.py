"""Kafka: a topic a topic, partitioned by the messages' keys; its groups are consumer groups.

A topic keeps what it has for as long as the server is told to. A new group begins with the earliest; what it has from
its producers' logs already is known by its place in its chain.
"""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from colonnade.brokers.broker import BrokerUnavailable, Carried, Receiver, Subscription
from colonnade.brokers.cloudevents import event_of
from colonnade.brokers.kafka_member import Member

__all__ = ["PARTITIONS", "KafkaBroker", "connect_to_kafka"]

PARTITIONS = 8
"""A topic that we make has so many: no more members of a group than these work at a time."""

CONNECT_SECONDS = 10.0

ANSWER_SECONDS = 10.0
"""How long the server may take to acknowledge what was published."""

SESSION_SECONDS = 6
"""A member that is silent for so long loses its partitions to others; servers grant no less unless told to."""

_HEARTBEAT_SECONDS = 0.5
_FETCHED_BYTES = 8 * 1024 * 1024
_FAILURES = (KafkaError, OSError, TimeoutError)


async def connect_to_kafka(servers: str, *, prefix: str = "colonnade", replicas: int = 1) -> "KafkaBroker":
    """A broker on `servers` (host:port, by commas), whose topics and groups begin with `prefix`.

    A topic that we make is kept by so many `replicas`. Raises `BrokerUnavailable`; once connected it connects again
    for ever.
    """
    broker = KafkaBroker(servers, prefix, replicas)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await broker.connect()
    except _FAILURES as error:
        await broker.close()
        raise BrokerUnavailable("Kafka", _sentence(error)) from error
    return broker


class KafkaBroker:
    """Publishes many messages at a time with an idempotent producer, and returns when all replicas have them."""

    def __init__(self, servers: str, prefix: str, replicas: int) -> None:
        self._servers = servers
        self._prefix = prefix
        self._replicas = replicas
        self._producer = AIOKafkaProducer(
            bootstrap_servers=servers,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=int(ANSWER_SECONDS * 500),
        )
        self._known: set[str] = set()
        self._making = asyncio.Lock()
        self._members: set[Member] = set()
        self._closed = False

    async def connect(self) -> None:
        """Connect for the first time; raises what the client raises."""
        await self._producer.start()

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Return when the server has every message; raises `BrokerUnavailable`."""
        self._refuse_if_closed()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._make({message.topic for message in messages})
                sent = [
                    await self._producer.send(self._name(each.topic), event_of(each), key=each.key.encode())
                    for each in messages
                ]
                await asyncio.gather(*sent)
        except _FAILURES as error:
            self._known.clear()  # somebody may have deleted them: they are made again
            raise BrokerUnavailable("Kafka", _sentence(error)) from error

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """Hand the messages of `topics` to `receive`; raises `BrokerUnavailable`."""
        self._refuse_if_closed()
        consumer = AIOKafkaConsumer(
            *map(self._name, topics),
            bootstrap_servers=self._servers,
            group_id=self._name(group),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_SECONDS * 1_000,
            heartbeat_interval_ms=int(_HEARTBEAT_SECONDS * 1_000),
            fetch_max_bytes=_FETCHED_BYTES,
        )
        member = Member(consumer, {self._name(topic): topic for topic in topics}, receive, self._members.discard)
        try:
            async with asyncio.timeout(SESSION_SECONDS + CONNECT_SECONDS):
                await self._make(set(topics))
                await member.open()
        except _FAILURES as error:
            await member.close()
            raise BrokerUnavailable("Kafka", _sentence(error)) from error
        self._members.add(member)
        return member

    async def close(self) -> None:
        """Stop delivering and disconnect."""
        self._closed = True
        await asyncio.gather(*(member.close() for member in list(self._members)))
        await self._producer.stop()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise BrokerUnavailable("Kafka", "it is closed")

    def _name(self, topic: str) -> str:
        return f"{self._prefix}.{topic}"

    async def _make(self, topics: set[str]) -> None:
        async with self._making:
            if missing := topics - self._known:
                admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
                try:
                    await admin.start()
                    made = await admin.create_topics(
                        [NewTopic(self._name(topic), PARTITIONS, self._replicas) for topic in missing]
                    )
                finally:
                    await admin.close()
                for name, code, *reason in made.topic_errors:
                    if code not in (0, TopicAlreadyExistsError.errno):
                        raise for_code(code)(f"{name}: {reason}")
                self._known |= missing


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__
