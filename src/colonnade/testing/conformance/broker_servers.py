"""What a broker that is a server promises besides: it, and members of groups, may be killed at any time."""

import asyncio
import multiprocessing
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from multiprocessing.synchronize import Event as ProcessEvent

from colonnade.brokers.broker import Broker, BrokerUnavailable, Carried, Unreadable
from colonnade.testing.conformance.broker import BrokerConformance, Taker, carried, wait_until

__all__ = ["BrokerServerConformance", "Serving"]

WITHIN_SECONDS = 60.0
"""By then another member has what a killed one had, and clients have found a server that is back."""

TOPIC = "shop.events"


@dataclass(frozen=True)
class Serving:
    """A server that can be killed, where nothing is yet under the names that `connect` takes.

    `connect` can be pickled: another process will call it. `put` lays bytes on the server as another program would.
    `start` returns when the server is ready, and does nothing when it runs.
    """

    connect: Callable[[], Awaitable[Broker]]
    kill: Callable[[], Awaitable[None]]
    start: Callable[[], Awaitable[None]]
    put: Callable[[str, bytes], Awaitable[None]]


class BrokerServerConformance(BrokerConformance):
    """The suite of every broker, and what concerns the server."""

    @abstractmethod
    def serving(self) -> AbstractAsyncContextManager[Serving]:
        """A server that may be killed, as long as the block lasts."""

    async def test_what_is_acknowledged_outlives_the_server_and_all_go_on_by_themselves(self) -> None:
        """After kill -9 publisher and member find the server again, and a group that was away misses nothing.

        Meanwhile publishing ends with a sentence; nobody is left to wait for ever.
        """
        await self.outlive(kills=1)

    async def outlive(self, kills: int) -> None:
        """The above, for so many times that the server is killed."""
        async with self.serving() as server:
            broker = await server.connect()
            changed = asyncio.Event()
            here, away = Taker(changed=changed), Taker(changed=changed)
            await (await broker.subscribe("mailing", [TOPIC], away.receive)).close()
            await broker.subscribe("ordering", [TOPIC], here.receive)
            count = 0
            for _ in range(kills):
                await self.publish(broker, *map(carried, range(count + 1, count + 101)))
                await server.kill()
                assert "is not available: " in await self._told(broker, carried(count + 101))
                publishing = asyncio.create_task(self.publish(broker, *map(carried, range(count + 101, count + 201))))
                await server.start()
                await publishing
                count += 200
            await broker.subscribe("mailing", [TOPIC], away.receive)
            wanted = set(range(1, count + 1))
            async with asyncio.timeout(WITHIN_SECONDS):
                await wait_until(lambda: here.seqs == wanted == away.seqs, changed)
            await broker.close()

    async def test_what_a_killed_member_had_goes_to_another(self) -> None:
        """Though it had been handed messages, and can tell nobody that it did not take them over."""
        async with self.serving() as server:
            broker = await server.connect()
            processes = multiprocessing.get_context("spawn")
            busy = processes.Event()
            member = processes.Process(target=_be_a_busy_member, args=(server.connect, busy), daemon=True)
            member.start()
            try:
                publishing = asyncio.create_task(self._publish_until(broker, busy))
                assert await asyncio.to_thread(busy.wait, WITHIN_SECONDS)
                published = await publishing
            finally:
                member.kill()
                await asyncio.to_thread(member.join)
            taker = Taker()
            await broker.subscribe("ordering", [TOPIC], taker.receive)
            async with asyncio.timeout(WITHIN_SECONDS):
                await taker.until(*published)
            await broker.close()

    async def test_what_is_no_message_is_handed_over_as_it_is(self) -> None:
        """With where it lay and what is wrong, once it is taken over never again; what comes after it arrives."""
        async with self.serving() as server:
            broker = await server.connect()
            taker = Taker()
            subscription = await broker.subscribe("ordering", [TOPIC], taker.receive)
            for data in (b"\xff{", b"", b"{}"):
                await server.put(TOPIC, data)
            await self.publish(broker, carried(1))
            await taker.until(1)
            await subscription.close()
            assert {each.data for each in taker.unreadable} == {b"\xff{", b"", b"{}"}
            assert all(TOPIC in each.origin and each.reason for each in taker.unreadable)
            again = Taker()
            await broker.subscribe("ordering", [TOPIC], again.receive)
            await self.publish(broker, carried(2))
            await again.until(2)
            assert not again.unreadable
            await broker.close()

    async def _told(self, broker: Broker, message: Carried) -> str:
        async with asyncio.timeout(WITHIN_SECONDS):
            try:
                await broker.publish([message])
            except BrokerUnavailable as error:
                return str(error)
        return "it took the message"

    async def _publish_until(self, broker: Broker, busy: ProcessEvent) -> list[int]:
        # A broker may forget what it is given before there is a group; and all are for the one member that is there
        published: list[int] = []
        while not busy.is_set():
            published.append(len(published) + 1)
            await self.publish(broker, carried(published[-1]))
            await asyncio.to_thread(busy.wait, 0.2)
        return published[-1:]


def _be_a_busy_member(connect: Callable[[], Awaitable[Broker]], busy: ProcessEvent) -> None:
    async def receive(messages: Sequence[Carried | Unreadable]) -> None:
        busy.set()
        await asyncio.Event().wait()

    async def be() -> None:
        broker = await connect()
        await broker.subscribe("ordering", [TOPIC], receive)
        await asyncio.Event().wait()

    asyncio.run(be())
