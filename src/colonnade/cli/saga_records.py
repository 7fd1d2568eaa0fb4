"""Sagas as their streams tell them, read from the stores beside a host that may be running."""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from colonnade.cli.data import reading
from colonnade.messages.codec import MessageCodec
from colonnade.messages.names import MessageNames
from colonnade.persistence.store import Store, StoredEvent
from colonnade.workers.sagas.history import (
    Compensating,
    End,
    SagaEnded,
    SagaEvent,
    SagaStarted,
    StepAnswered,
    StepAsked,
    StepSkipped,
)
from colonnade.workers.sagas.instance import SagaInstance, StepState
from colonnade.world import datetime_of

__all__ = ["SagaOnRecord", "Shown", "find_saga", "list_sagas", "told_event"]

PAGE_EVENTS = 500


class Shown(StrEnum):
    """Which sagas are listed."""

    LIVE = "live"
    STUCK = "stuck"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    ALL = "all"


@dataclass(frozen=True)
class SagaOnRecord:
    """One saga as its stream tells it."""

    service: str
    events: list[StoredEvent]
    history: list[SagaEvent]
    instance: SagaInstance

    @property
    def name(self) -> str:
        """Its definition."""
        return self.instance.plan.saga

    @property
    def state(self) -> str:
        """How it ended, or what it is about."""
        end = self.instance.end
        return end.value if end is not None else self.instance.phase.value

    @property
    def waits_for(self) -> list[str]:
        """The steps that are outstanding, or could not be undone."""
        waiting = {StepState.ASKED: "", StepState.UNDOING: "undo of ", StepState.UNDO_FAILED: "failed undo of "}
        return [f"{waiting[state]}{step}" for step, state in self.instance.steps.items() if state in waiting]

    @property
    def why(self) -> str | None:
        """Why it is undone."""
        why = self.instance.why
        return f"{why.step}: {why.code}: {why.detail}" if why is not None else None

    def as_json(self) -> dict[str, Any]:
        """What scripts are told of it."""
        return {
            "service": self.service,
            "saga": self.name,
            "id": self.instance.id,
            "version": self.instance.plan.saga_version,
            "state": self.state,
            "waits_for": self.waits_for,
            "why": self.why,
            "started_at": datetime_of(self.events[0].time),
            "changed_at": datetime_of(self.events[-1].time),
            "steps": {step: state.value for step, state in self.instance.steps.items()},
        }


async def list_sagas(data: Path, service: str | None, saga: str | None, state: Shown, limit: int) -> list[SagaOnRecord]:
    """The newest `limit` sagas of a service, a definition and a state, oldest first."""
    codec = _codec()
    found: list[SagaOnRecord] = []
    async with reading(data, service) as stores:
        for name, store in stores.items():
            kept: deque[SagaOnRecord] = deque(maxlen=limit)
            # How most sagas ended is known without reading each: only those that failed to be undone can go on
            ends = {stream: end async for stream, end in _ends(store, codec)}
            async for started in _of_name(store, codec.names.name_of(SagaStarted)):
                if (saga is not None and started.stream.partition("/")[0] != saga) or not _may_be(
                    state, ends.get(started.stream)
                ):
                    continue
                each = await _read(name, store, codec, started.stream)
                if each is not None and _is(state, each):
                    kept.append(each)
            found.extend(kept)
    return sorted(found, key=lambda each: each.events[0].time)[-limit:]


async def find_saga(data: Path, stream: str) -> SagaOnRecord | None:
    """The saga of that stream, in whichever service it is."""
    codec = _codec()
    async with reading(data) as stores:
        for service, store in stores.items():
            saga = await _read(service, store, codec, stream)
            if saga is not None:
                return saga
    return None


async def _read(service: str, store: Store, codec: MessageCodec, stream: str) -> SagaOnRecord | None:
    events: list[StoredEvent] = []
    while page := await store.log.stream(stream, len(events), PAGE_EVENTS):
        events.extend(page)
    if not events or events[0].name != codec.names.name_of(SagaStarted):
        return None
    history: list[Any] = [codec.decode(event.name, event.schema, event.data) for event in events]
    instance = SagaInstance(UUID(stream.partition("/")[2]))
    instance.replay(history)
    return SagaOnRecord(service, events, history, instance)


async def _ends(store: Store, codec: MessageCodec) -> AsyncIterator[tuple[str, End]]:
    async for event in _of_name(store, codec.names.name_of(SagaEnded)):
        ended = codec.decode(event.name, event.schema, event.data)
        assert isinstance(ended, SagaEnded)
        yield event.stream, ended.end


async def _of_name(store: Store, name: str) -> AsyncIterator[StoredEvent]:
    position = 0
    while page := await store.log.read(position, PAGE_EVENTS, [name]):
        position = page[-1].position
        for event in page:
            yield event


def _may_be(state: Shown, end: End | None) -> bool:
    """Whether a saga that was last seen to end so may be among those wanted."""
    final = {End.COMPLETED: Shown.COMPLETED, End.COMPENSATED: Shown.COMPENSATED}
    if end in final:
        return state in (Shown.ALL, final[end])
    return state not in final.values()


def _is(state: Shown, saga: SagaOnRecord) -> bool:
    match state:
        case Shown.ALL:
            return True
        case Shown.LIVE:
            return saga.instance.end is None
        case Shown.STUCK:
            return saga.instance.end is End.COMPENSATION_FAILED
        case Shown.COMPLETED:
            return saga.instance.end is End.COMPLETED
        case Shown.COMPENSATED:
            return saga.instance.end is End.COMPENSATED


def _codec() -> MessageCodec:
    names = MessageNames()
    names.bind("colonnade", SagaEvent.__args__, {})
    return MessageCodec(names)


def told_event(event: SagaEvent) -> str:
    """One event of a saga for people."""
    match event:
        case SagaStarted():
            return f"started by {event.trigger.name}"
        case StepAsked():
            return f"{_step(event)}: asked"
        case StepAnswered(code=None):
            return f"{_step(event)}: done"
        case StepAnswered():
            return f"{_step(event)}: {event.code}: {event.detail}"
        case StepSkipped():
            return f"{_step(event)}: skipped"
        case Compensating():
            return f"undone from here on, because of {event.code}: {event.detail}"
        case SagaEnded():
            return f"ended {event.end}"


def _step(event: StepAsked | StepAnswered | StepSkipped) -> str:
    return f"undo of {event.step}" if event.undo else event.step
