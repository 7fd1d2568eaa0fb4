"""NATS JetStream: a stream a topic, a durable consumer a group.

A stream keeps a message in files until every group has acknowledged it, or it is too old. JetStream acknowledges
before it syncs them, unless the server says `sync_interval: always`: what a power cut takes is fetched from its
producer's log.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig

from colonnade.brokers.broker import BrokerUnavailable, Carried, Receiver, Subscription
from colonnade.brokers.cloudevents import event_of
from colonnade.brokers.nats_member import REDELIVER_SECONDS, Member
from colonnade.brokers.nats_publishing import NotTaken, Publisher
from colonnade.observability.logs import get_logger
from colonnade.world import World

__all__ = ["NatsBroker", "connect_to_nats"]

CONNECT_SECONDS = 3.0
"""How long the first connection may take."""

RECONNECT_SECONDS = 0.2

ANSWER_SECONDS = 5.0
"""How long the server may take to acknowledge what was published."""

UNACKNOWLEDGED = 4_096
"""So many messages of a topic are at a group's members at most."""

KEPT_SECONDS = 7 * 24 * 3_600
"""A group that was away for longer gets what it missed from the producers."""

_FAILURES = (NatsError, NotTaken, OSError, TimeoutError)

_log = get_logger()


async def connect_to_nats(url: str, world: World, *, prefix: str = "colonnade") -> "NatsBroker":
    """A broker on the server at `url`, whose streams and subjects begin with `prefix`; raises `BrokerUnavailable`.

    Once connected it connects again for ever.
    """
    broker = NatsBroker(Client(), world, prefix)
    await broker.connect(url)
    return broker


class NatsBroker:
    """Publishes many messages at a time, and returns when all are acknowledged."""

    def __init__(self, client: Client, world: World, prefix: str) -> None:
        self._client = client
        self._world = world
        self._prefix = prefix
        self._publisher = Publisher(client)
        self._known: set[str] = set()
        self._members: set[Member] = set()
        self._cause = ""

    async def connect(self, url: str) -> None:
        """Connect for the first time; raises `BrokerUnavailable`."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._client.connect(
                    url,
                    error_cb=self._told,
                    disconnected_cb=self._disconnected,
                    reconnected_cb=self._connected_again,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_SECONDS,  # type: ignore[arg-type]  # it sleeps for parts of one, too
                    ping_interval=5,
                    max_outstanding_pings=2,
                    # What could not be sent is published again by the relay: a buffer would only hide that
                    pending_size=0,
                )
        except _FAILURES as error:
            raise BrokerUnavailable("NATS", self._cause or _sentence(error)) from error

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Return when the server has every message in its files; raises `BrokerUnavailable`."""
        try:
            for topic in {message.topic for message in messages} - self._known:
                await self._make_stream(topic)
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._publisher.publish((self._subject(each.topic), event_of(each)) for each in messages)
        except NotTaken as error:
            self._known.clear()  # somebody may have deleted them: they are made again
            raise BrokerUnavailable("NATS", str(error)) from error
        except _FAILURES as error:
            raise BrokerUnavailable("NATS", _sentence(error)) from error

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """Hand the messages of `topics` to `receive`, one topic's beside another's; raises `BrokerUnavailable`."""
        membership = _Membership(self._members)
        try:
            for topic in topics:
                requests = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream(topic)}.{group}"
                prepare = partial(self._make_consumer, group, topic)
                member = Member(self._client, self._world, topic, requests, receive, prepare)
                membership.add(member)
                await member.open()
        except _FAILURES as error:
            await membership.close()
            raise BrokerUnavailable("NATS", _sentence(error)) from error
        return membership

    async def close(self) -> None:
        """Stop delivering and disconnect."""
        await asyncio.gather(*(member.close() for member in self._members))
        self._members.clear()
        try:
            await self._client.close()
        except _FAILURES as error:
            _log.debug("nats", cause=str(error))

    async def _told(self, error: Exception) -> None:
        if self._cause != (cause := _sentence(error)):  # it tries again five times a second
            self._cause = cause
            _log.warning("nats", cause=cause)

    async def _disconnected(self) -> None:
        self._publisher.disconnected()

    async def _connected_again(self) -> None:
        self._cause = ""
        for member in self._members:
            member.connected_again()

    @property
    def _streams(self) -> JetStreamContext:
        return self._client.jetstream(timeout=ANSWER_SECONDS)

    def _subject(self, topic: str) -> str:
        return f"{self._prefix}.{topic}"

    def _stream(self, topic: str) -> str:
        return f"{self._prefix}-{topic}".replace(".", "-")

    async def _make_stream(self, topic: str) -> None:
        await self._streams.add_stream(
            StreamConfig(
                name=self._stream(topic),
                subjects=[self._subject(topic)],
                retention=RetentionPolicy.INTEREST,
                storage=StorageType.FILE,
                max_age=KEPT_SECONDS,
            )
        )
        self._known.add(topic)

    async def _make_consumer(self, group: str, topic: str) -> None:
        await self._make_stream(topic)
        await self._streams.add_consumer(
            self._stream(topic),
            ConsumerConfig(
                durable_name=group,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=REDELIVER_SECONDS,
                max_ack_pending=UNACKNOWLEDGED,
                max_deliver=-1,
            ),
        )


class _Membership:
    """The members of one subscription, one a topic."""

    def __init__(self, all_members: set[Member]) -> None:
        self._all = all_members
        self._members: list[Member] = []

    def add(self, member: Member) -> None:
        self._members.append(member)
        self._all.add(member)

    async def close(self) -> None:
        """End all of them, beside each other."""
        await asyncio.gather(*(member.close() for member in self._members))
        self._all.difference_update(self._members)


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__
