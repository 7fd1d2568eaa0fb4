"""A member of a consumer group on Kafka: takes over a bounded batch, then commits where it is."""

import asyncio
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from colonnade.brokers.broker import Carried, Receiver, Unreadable
from colonnade.brokers.cloudevents import carried_of
from colonnade.brokers.persisting import persist

__all__ = ["BATCH_MESSAGES", "Member"]

BATCH_MESSAGES = 256
"""So many messages are fetched and handed over at a time; no more is fetched before they are taken over."""

_FETCH_MILLISECONDS = 30_000
_LONGEST_WAIT_SECONDS = 5.0


class Member:
    """Receives from the partitions that the group gives it; what it has not committed goes to whoever has them next."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topics: Mapping[str, str],
        receive: Receiver,
        closed: Callable[["Member"], None],
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._receive = receive
        self._left = closed
        self._fetched: dict[TopicPartition, list[ConsumerRecord]] = {}
        self._handing_over = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin; raises what the client raises."""
        await self._consumer.start()
        # It ends when it is cancelled: a fetch under way is broken off, taking over is not
        self._task = asyncio.create_task(persist(self._step, asyncio.Event(), _LONGEST_WAIT_SECONDS))

    async def close(self) -> None:
        """Receive nothing more; what is being received is finished and committed."""
        if self._task is not None:
            async with self._handing_over:
                self._task.cancel()
            await asyncio.wait([self._task])
        await self._consumer.stop()
        self._left(self)

    async def _step(self) -> None:
        if not self._fetched:
            self._fetched = await self._consumer.getmany(timeout_ms=_FETCH_MILLISECONDS, max_records=BATCH_MESSAGES)
        async with self._handing_over:
            await self._hand_over()

    async def _hand_over(self) -> None:
        if not self._fetched:
            return
        await self._receive([self._read(each) for records in self._fetched.values() for each in records])
        reached = {partition: records[-1].offset + 1 for partition, records in self._fetched.items()}
        self._fetched = {}
        # Refused where the partitions have gone to another member, who gets the messages again
        await self._consumer.commit(reached)

    def _read(self, record: ConsumerRecord) -> Carried | Unreadable:
        topic = self._topics[record.topic]
        return carried_of(topic, record.value or b"", f"kafka/{topic}/{record.partition}/{record.offset}")
