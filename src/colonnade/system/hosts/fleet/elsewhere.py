"""The services of the system that run in other processes, called over HTTP."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import msgspec

from colonnade.messages import Command, Message, Query
from colonnade.messages.codec import MessageCodec
from colonnade.observability.correlation import Context
from colonnade.persistence.reads import required_position
from colonnade.persistence.unit import ChainId
from colonnade.presentation.balancing import Balancer
from colonnade.presentation.refusals import read_refusal
from colonnade.presentation.tokens import TOKEN_HEADER, format_token
from colonnade.presentation.upstream import Headers, UpstreamAnswer, UpstreamFailed
from colonnade.security.tenants import TENANT_HEADER
from colonnade.system.hosts.fleet.internal import (
    CONTEXT_HEADER,
    ENDS,
    HISTORIES,
    MESSAGES,
    OUTBOX,
    REFUSED,
    RemoteContext,
)
from colonnade.system.wiring import answer_of
from colonnade.workers.refetching import ChainEnd, Obstacle, Refetched
from colonnade.workers.succession import Histories
from colonnade.world import Clock

__all__ = ["HttpElsewhere"]

R = TypeVar("R")

CALL_SECONDS = 30.0
"""How long an answer may take where the caller has no deadline of its own."""

LOOK_SECONDS = 2.0
"""How long one service may take to say how far it is: what the others said waits for it."""

_decode_ends = msgspec.json.Decoder(list[ChainEnd]).decode
_decode_refetched = msgspec.json.Decoder(Refetched).decode
_decode_histories = msgspec.json.Decoder(Histories).decode


class HttpElsewhere:
    """The typed client of all contracts: what is asked here is answered there, refusals included.

    Of a `tenant` it asks the same tenant's.
    """

    def __init__(self, balancer: Balancer, codec: MessageCodec, clock: Clock, tenant: str | None = None) -> None:
        self._balancer = balancer
        self._codec = codec
        self._monotonic = clock.monotonic
        self._tenant = [(TENANT_HEADER, tenant.encode())] if tenant is not None else []
        self._answers: dict[type[Message], msgspec.json.Decoder[Any]] = {}

    async def execute(self, service: str, command: Command[R], context: Context) -> R:
        """Carry `command` out there; raises the handler's refusal, `UpstreamFailed`, TimeoutError."""
        return cast(R, await self._call(service, command, context, repeatable=False))

    async def ask(self, service: str, query: Query[R], context: Context) -> R:
        """Answer `query` there; raises the handler's refusal, `UpstreamFailed`, TimeoutError."""
        return cast(R, await self._call(service, query, context, repeatable=True))

    async def refetch(self, chain: ChainId, after: int) -> Refetched:
        """What the producer of `chain` keeps beyond `after`; nothing while it cannot be asked."""
        query = {"history": chain.history, "topic": chain.topic, "partition": chain.partition, "after": after}
        target = f"{OUTBOX}{chain.source}?{urlencode(query)}".encode()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._request(chain.source, "GET", target)
        except (UpstreamFailed, TimeoutError):
            return Refetched(obstacle=Obstacle.AWAY)
        return _decode_refetched(answer.body) if answer.status == 200 else Refetched(obstacle=Obstacle.AWAY)

    async def ends(self, service: str, topics: Collection[str]) -> Sequence[ChainEnd]:
        """How far `service` has published to `topics`; nothing while it cannot be asked."""
        target = f"{ENDS}{service}?{urlencode({'topic': topics}, doseq=True)}".encode()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                answer = await self._request(service, "GET", target)
        except (UpstreamFailed, TimeoutError):
            return ()  # asked again soon
        return _decode_ends(answer.body) if answer.status == 200 else ()

    async def histories(self, service: str) -> Histories | None:
        """Which history the store of `service` is in; None while it cannot be asked."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                answer = await self._request(service, "GET", f"{HISTORIES}{service}".encode())
        except (UpstreamFailed, TimeoutError):
            return None
        return _decode_histories(answer.body) if answer.status == 200 else None

    async def _call(self, service: str, message: Message, context: Context, *, repeatable: bool) -> Any:
        name, _, data = self._codec.encode(message)
        seconds = CALL_SECONDS if context.deadline is None else context.deadline - self._monotonic()
        sent = RemoteContext(
            context.correlation_id, context.causation_id, context.principal, context.traceparent, seconds
        )
        headers = [(CONTEXT_HEADER, msgspec.json.encode(sent))]
        required = required_position.get()
        if required is not None and required.service == service:
            token = format_token(required.service, required.history, required.position)
            headers.append((TOKEN_HEADER, token.encode()))
        async with asyncio.timeout(seconds):
            target = f"{MESSAGES}{name}".encode()
            answer = await self._request(service, "POST", target, headers, data, repeatable=repeatable)
        return self._result(service, message, answer)

    async def _request(
        self,
        service: str,
        method: str,
        target: bytes,
        headers: Headers = (),
        body: bytes = b"",
        *,
        repeatable: bool = True,
    ) -> UpstreamAnswer:
        return await self._balancer.request(
            service, method, target, [*self._tenant, *headers], body, repeatable=repeatable
        )

    def _result(self, service: str, message: Message, answer: UpstreamAnswer) -> Any:
        if answer.status == REFUSED:
            raise read_refusal(answer.body)
        if answer.status != 200:
            raise UpstreamFailed(service, f"{answer.status} {answer.body.decode(errors='replace')}")
        kind = type(message)
        decoder = self._answers.get(kind)
        if decoder is None:
            decoder = self._answers[kind] = msgspec.json.Decoder(answer_of(kind))
        return decoder.decode(answer.body)
