"""A broker inside one process: it keeps nothing, for it acknowledges only what every consumer has made durable."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

from colonnade.brokers.broker import Carried, Receiver, Subscription

__all__ = ["BrokerClosed", "MemoryBroker"]


class BrokerClosed(Exception):
    """The broker has stopped."""

    def __str__(self) -> str:
        return "The broker is closed; messages stay in the outbox until it runs again."


class MemoryBroker:
    """Hands published messages to one member of each group, and returns when all groups have taken them over.

    A member that fails fails the publication, which its producer repeats: groups that had taken the messages get them
    again and know them by their chain.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group] = {}
        self._closed = False

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Return when all groups have taken `messages` over; raises what a member raised, or `BrokerClosed`."""
        if self._closed:
            raise BrokerClosed
        by_topic: dict[str, list[Carried]] = {}
        for message in messages:
            by_topic.setdefault(message.topic, []).append(message)
        deliveries = [
            (group, carried)
            for topic, carried in by_topic.items()
            for (subscribed, _), group in self._groups.items()
            if subscribed == topic and group.members
        ]
        if len(deliveries) == 1:
            group, carried = deliveries[0]
            await group.receive(carried)
        else:
            async with asyncio.TaskGroup() as tasks:
                for group, carried in deliveries:
                    tasks.create_task(group.receive(carried))

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """Let `receive` be a member of `group` for `topics`."""
        member = _Member(receive)
        groups = [self._groups.setdefault((topic, group), _Group()) for topic in topics]
        for joined in groups:
            joined.join(member)
        return _MemorySubscription(groups, member)

    async def close(self) -> None:
        """Deliver nothing more."""
        self._closed = True


@dataclass(eq=False)
class _Member:
    receive: Receiver
    busy: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class _Group:
    def __init__(self) -> None:
        self.members: list[_Member] = []
        self._turns = cycle(self.members)

    def join(self, member: _Member) -> None:
        self.members.append(member)
        self._turns = cycle(tuple(self.members))

    def leave(self, member: _Member) -> None:
        self.members.remove(member)
        self._turns = cycle(tuple(self.members))

    async def receive(self, carried: Sequence[Carried]) -> None:
        member = next(self._turns)
        member.busy += 1
        try:
            await member.receive(carried)
        finally:
            member.busy -= 1
            if not member.busy:
                member.idle.set()


class _MemorySubscription:
    def __init__(self, groups: Sequence[_Group], member: _Member) -> None:
        self._groups = groups
        self._member = member

    async def close(self) -> None:
        """Leave the groups, then wait for what is being received."""
        for group in self._groups:
            if self._member in group.members:
                group.leave(self._member)
        while self._member.busy:
            self._member.idle.clear()
            await self._member.idle.wait()
