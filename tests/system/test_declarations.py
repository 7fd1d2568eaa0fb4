"""What is wrong with a system's declarations is told before its first request: where, why, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from colonnade.application import Deferred, Delivery, Plan, Projection, Repository, Saga, Subscriber
from colonnade.domain import Aggregate
from colonnade.messages import Command, Event, Message, Metadata, Query
from colonnade.presentation import Api, Get
from colonnade.system import InvalidSystem, Mistake, Service, System
from colonnade.system.topology import topology_of

HERE = __name__


class Baked(Event):
    """Bread was baked."""


class Sold(Event):
    """Bread was sold."""


class Oven(Aggregate[Baked]):
    def apply(self, event: Baked) -> None:
        pass


class Bake(Command[UUID]):
    """Bake."""


class Count(Query[int]):
    """Count."""


@dataclass(frozen=True)
class BakeHandler:
    ovens: Repository[Oven]

    async def __call__(self, command: Bake) -> UUID:
        return UUID(int=1)


class CountHandler:
    async def __call__(self, query: Count) -> bool:
        return True


class LaterHandler:
    async def __call__(self, command: Bake) -> UUID | Deferred:
        return Deferred("later")


class WrongHandler:
    async def __call__(self, command: Bake) -> str:
        return "done"


class WronglyLaterHandler:
    async def __call__(self, command: Bake) -> str | Deferred:
        return Deferred("later")


class SilentHandler:
    async def __call__(self, command: Bake):  # type: ignore[no-untyped-def]
        return None


class GreedyHandler:
    async def __call__(self, command: Bake, query: Count) -> UUID:
        return UUID(int=1)


class DeafHandler:
    pass


class LostHandler:
    async def __call__(self, command: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        pass


class LostPortHandler:
    def __init__(self, port: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        pass

    async def __call__(self, command: Bake) -> UUID:
        return UUID(int=1)


class Loaves(Projection[Baked]):
    tables = ()

    def on(self, event: Baked, meta: Metadata) -> Sequence[Any]:
        return ()


class Sales(Projection[Sold]):
    tables = ()

    def on(self, event: Sold, meta: Metadata) -> Sequence[Any]:
        return ()


class Anything(Projection):  # type: ignore[type-arg]
    tables = ()

    def on(self, event: Any, meta: Metadata) -> Sequence[Any]:
        return ()


class OtherLoaves(Loaves):
    pass


OtherLoaves.__name__ = Loaves.__name__


class Ring(Subscriber[Baked]):
    async def on(self, event: Baked, delivery: Delivery) -> None:
        pass


class Deliver(Saga[Baked]):
    def plan(self, event: Baked) -> Plan:
        raise NotImplementedError


class Shop(Aggregate[Sold]):
    def apply(self, event: Sold) -> None:
        pass


class OtherOven(Aggregate[Sold]):
    def apply(self, event: Sold) -> None:
        pass


OtherOven.__name__ = Oven.__name__


@dataclass(frozen=True)
class CountHandlerOfTwo:
    ovens: Repository[Oven]
    others: Repository[OtherOven]

    async def __call__(self, query: Count) -> int:
        return 0


class OtherBake(Command[UUID]):
    """Another command of that name."""


OtherBake.__name__ = Bake.__name__


class OtherBakeHandler:
    async def __call__(self, command: OtherBake) -> UUID:
        return UUID(int=1)


def contracts(*messages: type[Message]) -> ModuleType:
    """A module that holds messages as if it had defined them."""
    module = ModuleType(HERE)
    for message in messages:
        setattr(module, message.__qualname__, message)
    return module


def baking(**more: Any) -> Service:
    """A sound service, and more."""
    return Service("baking", **({"handlers": [BakeHandler]} | more))


def mistakes_of(*services: Service) -> Sequence[Mistake]:
    """What is wrong with a system of those services."""
    try:
        topology_of(System("bakery", services))
    except InvalidSystem as invalid:
        return invalid.mistakes
    return ()


@pytest.mark.parametrize("handler", [BakeHandler, CountHandler, LaterHandler])
def test_a_handler_answers_what_its_message_asks_for(handler: type[Any]) -> None:
    """Or something narrower, or later."""
    assert mistakes_of(baking(handlers=[handler])) == ()


REMEDY = "annotate that one parameter"


@pytest.mark.parametrize(
    ("services", "told"),
    [
        (
            [baking(handlers=[WrongHandler])],
            f"{HERE}.WrongHandler: it answers str, but Bake is answered with UUID; return UUID, or change the "
            "message's base.",
        ),
        (
            [baking(handlers=[WronglyLaterHandler])],
            f"{HERE}.WronglyLaterHandler: it answers str | colonnade.application.outbox.Deferred, but Bake is answered "
            "with UUID; return UUID, or change the message's base.",
        ),
        (
            [baking(handlers=[SilentHandler])],
            f"{HERE}.SilentHandler: its __call__ does not say what it answers; annotate it with -> UUID.",
        ),
        (
            [baking(handlers=[GreedyHandler])],
            f"{HERE}.GreedyHandler: its __call__ does not take exactly one command or query; {REMEDY}.",
        ),
        (
            [baking(handlers=[DeafHandler])],
            f"{HERE}.DeafHandler: its __call__ does not take exactly one command or query; {REMEDY}.",
        ),
        (
            [baking(handlers=[LostHandler])],
            f"{HERE}.LostHandler: its annotation names 'Nowhere', which is not defined in its module; import it there.",
        ),
        (
            [baking(handlers=[LostPortHandler])],
            f"{HERE}.LostPortHandler: its annotation names 'Nowhere', which is not defined in its module; import it "
            "there.",
        ),
        (
            [baking(projections=[Anything])],
            f"{HERE}.Anything: its base does not name its events; write Projection[FirstEvent | SecondEvent].",
        ),
        (
            [baking(), Service("other", handlers=[LaterHandler])],
            "the service other, LaterHandler: Bake is handled in baking already; leave one handler for it.",
        ),
        (
            [baking(api=Api(Get("/count", Count)))],
            "the service baking, GET /count: Count has no handler here; add its handler to the service.",
        ),
        (
            [baking(contracts=contracts(Bake, Count))],
            "the service baking: Count is in its contracts, and nobody handles it; add its handler, or take it out.",
        ),
        (
            [baking(projections=[Sales])],
            "the service baking, Sales: Sold is recorded by no aggregate; declare it in one's base.",
        ),
        (
            [baking(), Service("selling", projections=[Loaves])],
            "the service selling, Loaves: Baked is an event of baking; record an event of its own first.",
        ),
        (
            [baking(), Service("selling", sagas=[Deliver])],
            "the service selling, Deliver: Baked is an event of baking; record an event of its own first.",
        ),
        (
            [baking(), Service("selling", subscribers=[Ring])],
            "the service selling, Ring: Baked never leaves baking; put it into baking's contracts.",
        ),
        (
            [baking(projections=[Loaves, OtherLoaves])],
            "the service baking: two projections are called Loaves; rename one, its rows are stored under that name.",
        ),
        (
            [baking(handlers=[CountHandlerOfTwo])],
            "the service baking: two aggregates are called Oven; rename one, its streams are stored under that name.",
        ),
        (
            [baking(handlers=[BakeHandler, OtherBakeHandler])],
            f"the service baking: {HERE}.Bake and {HERE}.OtherBake would both be stored as 'baking.Bake'; rename one, "
            "or name it apart with Service(names={...}).",
        ),
        *(
            (
                [Service(name)],
                f"the service {name!r}: its name cannot stand in addresses and file names; begin with a lower-case "
                "letter, and go on with those, digits, - and _.",
            )
            for name in ("", "Baking", "../baking", "a/b", "a.b", "1st", "bäcker", "a b", "a\n")
        ),
        (
            [Service("colonnade")],
            "the service colonnade: its name is that of Colonnade's own messages; give it another.",
        ),
    ],
    ids=lambda value: value[:70] if isinstance(value, str) else "",
)
def test_a_mistake_is_told_by_its_place_and_with_its_remedy(services: Sequence[Service], told: str) -> None:
    """One sentence each."""
    assert [str(mistake) for mistake in mistakes_of(*services)] == [told]


def test_what_stands_in_contracts_may_leave() -> None:
    """Another service hears it, as a subscriber does."""
    services = [baking(contracts=contracts(Baked)), Service("selling", subscribers=[Ring])]
    topology = topology_of(System("bakery", services))
    assert topology.consumers("selling", Baked) == ["subscriber:Ring"]
    assert topology.topics("selling") == ["selling.commands", "selling.replies", "baking.events"]


def test_all_mistakes_are_told_at_once() -> None:
    """With the system's name above them."""
    with pytest.raises(InvalidSystem) as told:
        topology_of(System("bakery", [baking(handlers=[WrongHandler, DeafHandler]), Service("A")]))
    first, *lines = str(told.value).splitlines()
    assert first == "The system bakery cannot run:"
    assert [line.partition(":")[0] for line in lines] == [
        f"  - {HERE}.WrongHandler",
        f"  - {HERE}.DeafHandler",
        "  - the service 'A'",
    ]
