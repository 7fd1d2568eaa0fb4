"""What every broker promises: inherit, say how one is run, and pytest does the rest."""

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

from colonnade.brokers.broker import Broker, Carried, Unreadable
from colonnade.testing.conformance.broker_chains import ChainConformance, enveloped
from colonnade.world import real_world

__all__ = ["BrokerConformance", "Taker", "carried", "enveloped", "wait_until"]

WITHIN_SECONDS = 50.0
"""Servers start in that time too, on a machine that is busy with other things."""

LARGEST_BYTES = 256 * 1024
"""A service publishes no larger ones; the place in the chain comes on top."""

HANDED_AT_ONCE = 1_024
"""No more messages than these are handed to a member before it has taken some over."""

_HISTORY = UUID(int=1)
_WORLD = real_world()


def carried(seq: int, topic: str = "shop.events", *, partition: int = 0) -> Carried:
    """A message that follows the one before it."""
    return Carried("shop", _HISTORY, topic, partition, seq, seq - 1, f"Order/{seq}", enveloped())


class Taker:
    """A member of a group: remembers what it took over, and fails first if it is told to."""

    def __init__(self, failures: int = 0, changed: asyncio.Event | None = None) -> None:
        self.taken: list[Carried] = []
        self.unreadable: list[Unreadable] = []
        self._failures = failures
        self.changed = changed or asyncio.Event()

    async def receive(self, messages: Sequence[Carried | Unreadable]) -> None:
        """Take `messages` over."""
        if self._failures:
            self._failures -= 1
            raise RuntimeError("the disk is full")
        self.taken.extend(each for each in messages if isinstance(each, Carried))
        self.unreadable.extend(each for each in messages if isinstance(each, Unreadable))
        self.changed.set()

    @property
    def seqs(self) -> set[int]:
        """Which messages were taken over."""
        return {message.seq for message in self.taken}

    async def until(self, *seqs: int) -> None:
        """Wait until all of `seqs` were taken over."""
        await wait_until(lambda: self.seqs >= set(seqs), self.changed)


async def wait_until(holds: Callable[[], bool], changed: asyncio.Event) -> None:
    """Wait for `holds`, looking whenever something `changed`."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while not holds():
            changed.clear()
            await changed.wait()


class BrokerConformance(ChainConformance):
    """The suite. Adapters may lose nothing that they acknowledged to a running group; they may double and reorder."""

    async def publish(self, broker: Broker, *messages: Carried) -> None:
        """Publish as a relay does: again and again, until it is acknowledged."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                try:
                    await broker.publish(messages)
                except Exception:  # whatever the adapter raises
                    await _WORLD.sleep(0.01)
                else:
                    return

    async def test_every_group_gets_every_message(self) -> None:
        """What is published to a topic comes to each group that listens to it."""
        async with self.running_broker() as broker:
            orders, mails = Taker(), Taker()
            await broker.subscribe("ordering", ["shop.events"], orders.receive)
            await broker.subscribe("mailing", ["shop.events"], mails.receive)
            await self.publish(broker, carried(1), carried(2))
            await orders.until(1, 2)
            await mails.until(1, 2)

    async def test_a_message_arrives_as_it_was_sent(self) -> None:
        """Source, history, topic, partition, both numbers, key and bytes stay what they are."""
        async with self.running_broker() as broker:
            taker = Taker()
            envelope = enveloped({"text": '"}, {"partitionkey":1}', "letters": "ü€🦀\n"}, "shöp")
            sent = Carried(
                "shöp", UUID(int=(1 << 128) - 1), "shop.events", 7, 1 << 62, 0, "Bestellung/ü|é \n", envelope
            )
            await broker.subscribe("ordering", ["shop.events"], taker.receive)
            await self.publish(broker, sent)
            await taker.until(sent.seq)
            assert taker.taken[0] == sent

    async def test_members_of_a_group_share_its_messages(self) -> None:
        """Between them they get everything, and no member gets all when there are many messages."""
        async with self.running_broker() as broker:
            changed = asyncio.Event()
            one, two = Taker(changed=changed), Taker(changed=changed)
            await broker.subscribe("ordering", ["shop.events"], one.receive)
            await broker.subscribe("ordering", ["shop.events"], two.receive)
            for seq in range(1, 41):
                await self.publish(broker, carried(seq, partition=seq % 8))
            await wait_until(lambda: one.seqs | two.seqs == set(range(1, 41)), changed)
            assert one.taken
            assert two.taken

    async def test_only_topics_that_were_asked_for_come(self) -> None:
        """Messages of other topics, and of topics that nobody wants, trouble nobody."""
        async with self.running_broker() as broker:
            taker = Taker()
            await broker.subscribe("ordering", ["shop.events", "ordering.commands"], taker.receive)
            await self.publish(broker, carried(1, "other.events"))
            await self.publish(broker, carried(2, "ordering.commands"), carried(3, "shop.events"))
            await taker.until(2, 3)
            assert {message.topic for message in taker.taken} == {"ordering.commands", "shop.events"}

    async def test_what_a_receiver_did_not_take_comes_again(self) -> None:
        """A receiver that fails gets the same message again; none that it acknowledged is needed for that."""
        async with self.running_broker() as broker:
            taker = Taker(failures=2)
            await broker.subscribe("ordering", ["shop.events"], taker.receive)
            await self.publish(broker, carried(1))
            await taker.until(1)

    async def test_a_group_that_fails_keeps_nothing_from_another(self) -> None:
        """The other group has the message while the first one still fails."""
        async with self.running_broker() as broker:
            failing, well = Taker(failures=1_000_000), Taker()
            await broker.subscribe("failing", ["shop.events"], failing.receive)
            await broker.subscribe("well", ["shop.events"], well.receive)
            publishing = asyncio.create_task(self.publish(broker, carried(1)))
            try:
                await well.until(1)
                assert not failing.taken
            finally:
                publishing.cancel()
                await asyncio.wait([publishing])

    async def test_closing_a_subscription_waits_for_what_is_being_received(self) -> None:
        """The receiver is not left in the middle, and gets nothing afterwards."""
        async with self.running_broker() as broker:
            entered, leave = asyncio.Event(), asyncio.Event()
            finished: list[int] = []

            async def receive(messages: Sequence[Carried | Unreadable]) -> None:
                entered.set()
                await leave.wait()
                finished.extend(message.seq for message in messages if isinstance(message, Carried))

            subscription = await broker.subscribe("ordering", ["shop.events"], receive)
            publishing = asyncio.create_task(self.publish(broker, carried(1)))
            async with asyncio.timeout(WITHIN_SECONDS):
                await entered.wait()
                closing = asyncio.create_task(subscription.close())
                await asyncio.wait([closing], timeout=0.01)
                assert not closing.done()
                leave.set()
                await closing
            assert finished == [1]
            await asyncio.wait([publishing])
            again = asyncio.create_task(self.publish(broker, carried(2)))
            await asyncio.wait([again], timeout=0.05)
            again.cancel()
            await asyncio.wait([again])
            assert finished == [1]

    async def test_a_group_whose_members_were_away_misses_nothing(self) -> None:
        """What was published meanwhile comes once a member listens again."""
        async with self.running_broker() as broker:
            first, second = Taker(), Taker()
            subscription = await broker.subscribe("ordering", ["shop.events"], first.receive)
            await self.publish(broker, carried(1))
            await first.until(1)
            await subscription.close()
            publishing = asyncio.create_task(self.publish(broker, carried(2)))
            await asyncio.wait([publishing], timeout=0.05)
            await broker.subscribe("ordering", ["shop.events"], second.receive)
            await second.until(2)
            await publishing
            assert first.seqs == {1}

    async def test_a_closed_broker_takes_nothing(self) -> None:
        """Publishing raises, so that messages stay in the outbox."""
        async with self.running_broker() as broker:
            await broker.close()
            refused = ""
            try:
                await broker.publish([carried(1)])
            except Exception as error:  # whatever the adapter raises
                refused = str(error)
            assert refused

    async def test_messages_up_to_the_limit_arrive(self) -> None:
        """Several of the largest at a time, and none of them changed."""
        async with self.running_broker() as broker:
            taker = Taker()
            await broker.subscribe("ordering", ["shop.events"], taker.receive)
            room = LARGEST_BYTES - len(enveloped("", subject="Order/9"))
            large = [
                Carried("shop", _HISTORY, "shop.events", 0, seq, seq - 1, "Order/9", enveloped(f"{seq}" * room))
                for seq in range(1, 9)
            ]
            assert {len(message.envelope) for message in large} == {LARGEST_BYTES}
            await self.publish(broker, *large)
            await taker.until(*range(1, 9))
            assert sorted({message.seq: message for message in taker.taken}.values(), key=_seq) == large

    async def test_a_member_that_is_busy_is_not_flooded(self) -> None:
        """It is handed a bounded number of messages, once; the rest comes when it has taken those over."""
        async with self.running_broker() as broker:
            taker, handed, entered, leave = Taker(), 0, asyncio.Event(), asyncio.Event()

            async def receive(messages: Sequence[Carried | Unreadable]) -> None:
                nonlocal handed
                handed += len(messages)
                entered.set()
                await leave.wait()
                await taker.receive(messages)

            await broker.subscribe("ordering", ["shop.events"], receive)
            publishing = asyncio.create_task(self._publish_many(broker, 3_000))
            async with asyncio.timeout(WITHIN_SECONDS):
                await entered.wait()
            await asyncio.wait([publishing], timeout=1.0)
            assert handed <= HANDED_AT_ONCE
            leave.set()
            await publishing
            await taker.until(*range(1, 3_001))

    async def _publish_many(self, broker: Broker, count: int) -> None:
        for first in range(1, count + 1, 250):
            await self.publish(broker, *map(carried, range(first, first + 250)))


def _seq(message: Carried) -> int:
    return message.seq
