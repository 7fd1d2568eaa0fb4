"""Publishing to JetStream, many messages at a time: one future a batch, where the client would make one a message."""

import asyncio
from collections.abc import Iterable

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

__all__ = ["NotTaken", "Publisher"]


class NotTaken(Exception):
    """The server did not take a message, and said why, or the connection to it broke."""


class _Refusal(msgspec.Struct):
    description: str = "it does not say why"


class _Acknowledgement(msgspec.Struct):
    """What the server answers; see the JetStream API's PubAck."""

    error: _Refusal | None = None


_decode = msgspec.json.Decoder(_Acknowledgement).decode


class _Batch:
    __slots__ = ("done", "missing")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(NotTaken(reason))


class Publisher:
    """Sends messages and waits for the answers, which come to one subject; what nobody waits for any more is forgotten.

    (`JetStreamContext.publish_async` keeps a place for each message that was never answered, until it has none left.)
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: dict[str, _Batch] = {}
        self._inbox = ""
        self._last = 0

    async def publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Return when all are acknowledged (subject, bytes); raises `NotTaken` or what the client does."""
        if not self._inbox:
            self._inbox = self._client.new_inbox() + "."
            await self._client.subscribe(self._inbox + "*", cb=self._answered)
        sent = list(messages)
        batch = _Batch(len(sent))
        numbers = [str(number) for number in range(self._last, self._last + len(sent))]
        self._last += len(sent)
        try:
            self._waiting.update((number, batch) for number in numbers)
            for number, (subject, data) in zip(numbers, sent, strict=True):
                await self._client.publish(subject, data, self._inbox + number)
            await batch.done
        finally:
            batch.done.cancel()
            for number in numbers:
                self._waiting.pop(number, None)

    def disconnected(self) -> None:
        """Nothing that was sent will be answered."""
        for batch in self._waiting.values():
            batch.fail("the connection broke")

    async def _answered(self, answer: Msg) -> None:
        batch = self._waiting.pop(answer.subject[len(self._inbox) :], None)
        if batch is None:
            return
        if answer.headers:  # an acknowledgement has none
            batch.fail("no stream takes its messages, or JetStream has not started")
            return
        error = _decode(answer.data).error
        if error is not None:
            batch.fail(error.description)
        batch.missing -= 1
        if not batch.missing and not batch.done.done():
            batch.done.set_result(None)
