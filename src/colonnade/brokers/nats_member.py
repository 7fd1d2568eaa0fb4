"""A member of a group on JetStream: asks for as much as it can take over, and says so while it is busy."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from colonnade.brokers.broker import Receiver
from colonnade.brokers.cloudevents import carried_of
from colonnade.brokers.persisting import persist
from colonnade.observability.logs import get_logger
from colonnade.world import World

__all__ = ["BATCH_MESSAGES", "REDELIVER_SECONDS", "Member"]

BATCH_MESSAGES = 256
"""So many messages are asked for and handed over at a time; as many more wait meanwhile."""

REDELIVER_SECONDS = 5.0
"""A message goes to another member when its own has neither acknowledged it nor said that it is busy for so long."""

_BUSY_SECONDS = REDELIVER_SECONDS / 4
_EXPIRES_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 5.0

_ASK = b'{"batch":%d,"expires":%d}' % (BATCH_MESSAGES, _EXPIRES_SECONDS * 1e9)
_EXPIRED = "408"

_log = get_logger()


class Member:
    """Receives the messages of one topic from the group's consumer; `prepare` makes that where it is not there.

    One request at a time is at the server, and another after it was served, has expired, or the connection broke.
    """

    def __init__(
        self,
        client: Client,
        world: World,
        topic: str,
        requests: str,
        receive: Receiver,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self._client = client
        self._world = world
        self._topic = topic
        self._requests = requests
        self._receive = receive
        self._prepare = prepare
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._expected = 0
        self._waiting: list[Msg] = []
        self._batch: list[Msg] = []
        self._lost = False
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin; raises what `prepare` raises."""
        await self._prepare()
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(self._inbox, cb=self._came)
        self._task = asyncio.create_task(self._run())

    def connected_again(self) -> None:
        """What was asked for on the last connection will not come."""
        self._expected = 0
        self._changed.set()

    async def close(self) -> None:
        """Receive nothing more; what is being received is finished, the rest goes to other members at once."""
        self._closing.set()
        self._changed.set()
        if self._subscription is not None:
            try:
                if self._client.is_connected:
                    await self._subscription.drain()  # type: ignore[no-untyped-call]  # of the driver
                else:
                    await self._subscription.unsubscribe()
            except (NatsError, OSError) as error:
                _log.debug("nats", cause=str(error))
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._answer(Msg.Ack.Nak, self._waiting)
        self._waiting = []

    async def _came(self, message: Msg) -> None:
        if message.reply:
            self._waiting.append(message)
            self._expected -= 1
        else:
            self._expected = 0
            self._lost = (message.headers or {}).get("Status", _EXPIRED) != _EXPIRED
        self._changed.set()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            busy = tasks.create_task(self._say_busy())
            await persist(self._step, self._closing, _LONGEST_WAIT_SECONDS, topic=self._topic)
            busy.cancel()

    async def _step(self) -> None:
        self._changed.clear()
        if self._lost:  # somebody has deleted the consumer, or the server has not started it yet
            await self._prepare()
            self._lost = False
        if self._expected <= 0 and len(self._waiting) <= BATCH_MESSAGES and self._client.is_connected:
            self._expected = BATCH_MESSAGES
            await self._client.publish(self._requests, _ASK, self._inbox)
        if self._waiting:
            await self._hand_over()
        else:
            await self._until_changed()

    async def _until_changed(self) -> None:
        try:
            async with asyncio.timeout(_EXPIRES_SECONDS + REDELIVER_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            self._expected = 0  # its expiry was to be told by now

    async def _hand_over(self) -> None:
        self._batch, self._waiting = self._waiting[:BATCH_MESSAGES], self._waiting[BATCH_MESSAGES:]
        origin = f"nats/{self._topic}"
        try:
            await self._receive([carried_of(self._topic, message.data, origin) for message in self._batch])
        except BaseException:
            self._waiting = self._batch + self._waiting
            raise
        else:
            await self._answer(Msg.Ack.Ack, self._batch)
        finally:
            self._batch = []

    async def _say_busy(self) -> None:
        while True:
            before = self._batch
            await self._world.sleep(_BUSY_SECONDS)
            if before and self._batch is before:
                await self._answer(Msg.Ack.Progress, self._batch + self._waiting)

    async def _answer(self, answer: bytes, messages: Sequence[Msg]) -> None:
        try:
            for message in messages:
                await self._client.publish(message.reply, answer)
        except (NatsError, OSError) as error:
            _log.debug("nats", cause=str(error))  # they come again, and are known by their place in their chain
