"""A part of a broker that nobody else sees: topics and groups that begin with its name."""

from collections.abc import Sequence

from msgspec.structs import replace

from colonnade.brokers.broker import Broker, Carried, Receiver, Subscription, Unreadable

__all__ = ["NamespacedBroker"]


class NamespacedBroker:
    """What `name`, which has neither dots nor hyphens, publishes in `broker`, only `name` receives."""

    def __init__(self, broker: Broker, name: str) -> None:
        self._broker = broker
        self._name = name
        self._before = f"{name}."

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Publish `messages` under this name."""
        before = self._before
        await self._broker.publish([replace(message, topic=before + message.topic) for message in messages])

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """Hand what is published under this name to `receive`."""

        async def received(messages: Sequence[Carried | Unreadable]) -> None:
            await receive([self._own(message) for message in messages])

        return await self._broker.subscribe(
            f"{self._name}-{group}", [self._before + topic for topic in topics], received
        )

    async def close(self) -> None:
        """Nothing: whose broker it is closes it for all."""

    def _own(self, message: Carried | Unreadable) -> Carried | Unreadable:
        if isinstance(message, Unreadable):
            return message
        if not message.topic.startswith(self._before):
            return Unreadable(message.topic, f"it is not of {self._name}", message.envelope)
        return replace(message, topic=message.topic[len(self._before) :])
