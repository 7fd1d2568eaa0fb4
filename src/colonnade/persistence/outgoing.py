"""Commands and replies that leave with the work at hand."""

from datetime import datetime, timedelta

from colonnade.domain import Refusal
from colonnade.messages import Command
from colonnade.messages.codec import MessageCodec
from colonnade.observability.correlation import Context, current_context
from colonnade.persistence.addresses import Routes
from colonnade.persistence.envelopes import enveloped
from colonnade.persistence.reply import Reply
from colonnade.persistence.reply_keys import ReplyKey
from colonnade.persistence.store import Store
from colonnade.persistence.unit import ArmTimer, Deliver, Effect, Forget, Publish, Settle
from colonnade.persistence.work import work_at_hand
from colonnade.world import World, datetime_of, micros_of

__all__ = ["UnitOutbox", "UnitReplies", "reply_effect"]


class UnitOutbox:
    """Sends commands with the unit of work at hand."""

    def __init__(self, routes: Routes, codec: MessageCodec, world: World) -> None:
        self._routes = routes
        self._codec = codec
        self._world = world

    def send(
        self,
        command: Command[object],
        *,
        key: str | None = None,
        after: timedelta | None = None,
        at: datetime | None = None,
    ) -> None:
        """Send `command` once this unit is committed, in order with others of its `key`, delayed if asked."""
        if after is not None and at is not None:
            raise ValueError("A command is sent `after` a while or `at` a moment; give one of them.")
        work = work_at_hand()
        now = self._world.clock.micros()
        due = micros_of(at) if at is not None else now + after // timedelta(microseconds=1) if after else None
        context = current_context.get()
        id = self._world.ids.new()
        encoded = self._codec.encode(command)

        def effect(first_stream: str) -> Effect:
            subject = key if key is not None else first_stream
            envelope = enveloped(
                context,
                id=id,
                source=self._routes.service,
                type=encoded.name,
                subject=subject,
                time=datetime_of(now if due is None else max(now, due)),
                data=encoded.data,
                version=encoded.version,
            )
            message = self._routes.command(type(command), subject, id, envelope)
            return message if due is None else ArmTimer(f"send/{id}", due, message)

        work.later.append(effect)


class UnitReplies:
    """Settles deferred commands with the unit of work at hand."""

    def __init__(self, store: Store, routes: Routes, world: World) -> None:
        self._store = store
        self._routes = routes
        self._world = world

    async def settle(self, key: str, refusal: Refusal | None = None) -> None:
        """Answer the commands that wait under `key`: done, or refused."""
        work = work_at_hand()
        reply = Reply.of(self._routes.service, refusal, settled=True)
        context = current_context.get()
        for waiting in await self._store.deferrals(key):
            work.effects.append(Settle(key, waiting.reply_to, waiting.reply_key))
            if refusal is not None:
                # As one that was refused at once: asked for again, it is tried again
                work.effects.append(Forget(ReplyKey.parse(waiting.reply_key).mark(waiting.reply_to)))
            work.effects.append(
                reply_effect(self._routes, self._world, context, waiting.reply_to, waiting.reply_key, reply)
            )


def reply_effect(
    routes: Routes, world: World, context: Context, reply_to: str, reply_key: str, reply: Reply
) -> Deliver | Publish:
    """The effect that tells a saga of the service `reply_to` how its command ended.

    `reply_key` is the `ReplyKey` as text that came with the command.
    """
    consumer, key = ReplyKey.line_of(reply_key)
    id = world.ids.new()
    envelope = enveloped(
        context,
        id=id,
        source=routes.service,
        type=Reply.NAME,
        subject=key,
        time=world.clock.now(),
        data=reply.encode(),
        reply_key=reply_key,
    )
    return routes.reply(reply_to, consumer, key, id, envelope)
