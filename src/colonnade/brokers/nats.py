"""NATS JetStream: a stream a topic, a durable consumer a group.

A stream keeps a message until every group has acknowledged it, in files. JetStream acknowledges before it syncs them,
unless the server says `sync_interval: always`: what a power cut takes is fetched from its producer's log.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NoStreamResponseError, NotFoundError

from colonnade.brokers.broker import BrokerUnavailable, Carried, Receiver, Subscription
from colonnade.brokers.cloudevents import carried_of, event_of
from colonnade.observability.logs import get_logger
from colonnade.world import World

__all__ = ["NatsBroker", "connect_to_nats"]

CONNECT_SECONDS = 3.0
"""How long the first connection may take."""

ANSWER_SECONDS = 5.0
"""How long the server may take to acknowledge what was published."""

UNACKNOWLEDGED = 1_024
"""So many messages of a topic are handed to a group's members beyond those that they have acknowledged."""

BATCH_MESSAGES = 256

REDELIVER_SECONDS = 30.0
"""A message that its member has not acknowledged for so long goes to another one."""

_SHORTEST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.05, 5.0

_FAILURES = (NatsError, OSError, TimeoutError)

_log = get_logger()


async def connect_to_nats(url: str, world: World, *, prefix: str = "colonnade") -> "NatsBroker":
    """A broker on the server at `url`, whose streams and subjects begin with `prefix`; raises `BrokerUnavailable`.

    Once connected it connects again for ever.
    """

    cause = ""

    async def told(error: Exception) -> None:
        nonlocal cause
        if cause != (cause := _told(error)):  # it tries again five times a second
            _log.warning("nats", cause=cause)

    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            client = await nats.connect(
                url,
                error_cb=told,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,
                ping_interval=5,
                max_outstanding_pings=2,
                # What could not be sent is published again by the relay: a buffer would only hide that
                pending_size=0,
            )
    except _FAILURES as error:
        raise BrokerUnavailable("NATS", cause or _told(error)) from error
    return NatsBroker(client, world, prefix)


class NatsBroker:
    """Publishes many messages at a time, and returns when all are acknowledged."""

    def __init__(self, client: Client, world: World, prefix: str) -> None:
        self._client = client
        self._streams: JetStreamContext = client.jetstream(timeout=ANSWER_SECONDS)
        self._world = world
        self._prefix = prefix
        self._known: set[str] = set()
        self._members: set[_Member] = set()

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Return when the server has every message in its files; raises `BrokerUnavailable`."""
        try:
            for topic in {message.topic for message in messages}:
                await self._make_stream(topic)
            async with asyncio.timeout(ANSWER_SECONDS):
                acknowledged = [
                    await self._streams.publish_async(self._subject(message.topic), event_of(message))
                    for message in messages
                ]
                for each in acknowledged:
                    await each
        except NoStreamResponseError as error:
            self._known.clear()  # somebody has deleted them: they are made again
            raise BrokerUnavailable("NATS", "its streams are gone") from error
        except _FAILURES as error:
            raise BrokerUnavailable("NATS", _told(error)) from error

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """Hand the messages of `topics` to `receive`; raises `BrokerUnavailable`."""
        member = _Member(receive, self._world)
        try:
            for topic in topics:
                await self._make_stream(topic)
                subject = await self._make_consumer(group, topic)
                member.listens(await self._client.subscribe(subject, queue=group, cb=member.taker(topic)))
        except _FAILURES as error:
            await member.close()
            raise BrokerUnavailable("NATS", _told(error)) from error
        self._members.add(member)
        return member

    async def close(self) -> None:
        """Stop delivering and disconnect."""
        for member in self._members:
            await member.close()
        try:
            await self._client.close()
        except _FAILURES as error:
            _log.debug("nats", cause=str(error))

    def _subject(self, topic: str) -> str:
        return f"{self._prefix}.{topic}"

    def _stream(self, topic: str) -> str:
        return f"{self._prefix}-{topic}".replace(".", "-")

    async def _make_stream(self, topic: str) -> None:
        if topic in self._known:
            return
        await self._streams.add_stream(
            StreamConfig(
                name=self._stream(topic),
                subjects=[self._subject(topic)],
                retention=RetentionPolicy.INTEREST,
                storage=StorageType.FILE,
            )
        )
        self._known.add(topic)

    async def _make_consumer(self, group: str, topic: str) -> str:
        stream = self._stream(topic)
        subject = f"{self._prefix}-deliver.{group}.{topic}"
        try:
            await self._streams.consumer_info(stream, group)
        except NotFoundError:
            await self._streams.add_consumer(
                stream,
                ConsumerConfig(
                    durable_name=group,
                    deliver_subject=subject,
                    deliver_group=group,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=REDELIVER_SECONDS,
                    max_ack_pending=UNACKNOWLEDGED,
                    max_deliver=-1,
                ),
            )
        return subject


class _Member:
    """One member of a group: collects what comes, hands it over in batches, acknowledges what was taken."""

    def __init__(self, receive: Receiver, world: World) -> None:
        self._receive = receive
        self._world = world
        self._subscriptions: list[NatsSubscription] = []
        self._waiting: list[tuple[str, Msg]] = []
        self._came = asyncio.Event()
        self._closing = False
        self._handing_over = asyncio.create_task(self._hand_over())

    def listens(self, subscription: NatsSubscription) -> None:
        """Keep a subscription, to be ended with the membership."""
        self._subscriptions.append(subscription)

    def taker(self, topic: str) -> Callable[[Msg], Awaitable[None]]:
        """What is called with each message of `topic`."""

        async def take(message: Msg) -> None:
            self._waiting.append((topic, message))
            self._came.set()

        return take

    async def close(self) -> None:
        """Receive nothing more; what is being received is finished, the rest goes to other members."""
        self._closing = True
        self._came.set()
        for subscription in self._subscriptions:
            try:
                await subscription.unsubscribe()
            except _FAILURES as error:
                _log.debug("nats", cause=str(error))
        await asyncio.wait([self._handing_over])
        for _, message in self._waiting:
            await _answer(message.nak)
        self._waiting.clear()

    async def _hand_over(self) -> None:
        while not self._closing:
            await self._came.wait()
            self._came.clear()
            while self._waiting and not self._closing:
                batch, self._waiting = self._waiting[:BATCH_MESSAGES], self._waiting[BATCH_MESSAGES:]
                if not await self._taken(batch):
                    self._waiting = batch + self._waiting

    async def _taken(self, batch: Sequence[tuple[str, Msg]]) -> bool:
        messages = [carried_of(topic, message.data, f"nats/{topic}") for topic, message in batch]
        wait = _SHORTEST_WAIT_SECONDS
        while True:
            try:
                await self._receive(messages)
            except Exception as error:  # whatever a receiver raises: its store is away, perhaps
                _log.warning("messages not taken over", cause=str(error))
            else:
                break
            if self._closing:
                return False
            await self._world.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
        for _, message in batch:
            await _answer(message.ack)
        return True


async def _answer(answer: Callable[[], Awaitable[None]]) -> None:
    try:
        await answer()
    except _FAILURES as error:
        _log.debug("nats", cause=str(error))  # it comes again, and is known by its place in its chain


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
