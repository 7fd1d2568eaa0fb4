"""A broker inside one process: it keeps nothing, for it acknowledges only what every consumer has made durable."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from colonnade.brokers.broker import Carried, Receiver, Subscription

__all__ = ["BrokerClosed", "GroupAway", "MemoryBroker"]


class BrokerClosed(Exception):
    """The broker has stopped."""

    def __str__(self) -> str:
        return "The broker is closed; messages stay in the outbox until it runs again."


class GroupAway(Exception):
    """A group that subscribed to a topic has no member that could take its messages."""

    def __init__(self, group: str, topic: str) -> None:
        super().__init__(group, topic)
        self.group, self.topic = group, topic

    def __str__(self) -> str:
        return f"No member of {self.group} listens to {self.topic}; its messages stay in the outbox until one does."


class MemoryBroker:
    """Hands published messages to one member of each group, and returns when all groups have taken them over.

    A member that fails fails the publication, once the other groups have taken their messages over; its producer
    repeats it, to the next member. Groups that had the messages know them by their chain. Since nothing is kept here,
    a group that takes nothing holds its topics up for all of their groups.
    """

    def __init__(self) -> None:
        self._topics: dict[str, dict[str, _Group]] = {}
        self._closed = False

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Return when all groups have taken `messages` over.

        Raises what a member raised, `GroupAway` for a group whose members have left, or `BrokerClosed`.
        """
        if self._closed:
            raise BrokerClosed
        by_topic: dict[str, list[Carried]] = {}
        for message in messages:
            by_topic.setdefault(message.topic, []).append(message)
        deliveries = [
            (group, carried) for topic, carried in by_topic.items() for group in self._topics.get(topic, {}).values()
        ]
        if len(deliveries) == 1:
            group, carried = deliveries[0]
            await group.receive(carried)
            return
        results = await asyncio.gather(
            *(group.receive(carried) for group, carried in deliveries), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """Let `receive` be a member of `group` for `topics`; raises `BrokerClosed`."""
        if self._closed:
            raise BrokerClosed
        member = _Member(receive)
        joined = [self._topics.setdefault(topic, {}).setdefault(group, _Group(group, topic)) for topic in topics]
        for each in joined:
            each.members.append(member)
        return _MemorySubscription(joined, member)

    async def close(self) -> None:
        """Take no more messages; those at hand are still handed over."""
        self._closed = True


@dataclass(eq=False)
class _Member:
    receive: Receiver
    busy: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class _Group:
    def __init__(self, name: str, topic: str) -> None:
        self._name = name
        self._topic = topic
        self.members: list[_Member] = []

    async def receive(self, carried: Sequence[Carried]) -> None:
        if not self.members:
            raise GroupAway(self._name, self._topic)
        member = self.members.pop(0)
        self.members.append(member)  # to the end of the line: members take turns
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
                group.members.remove(self._member)
        while self._member.busy:
            self._member.idle.clear()
            await self._member.idle.wait()
