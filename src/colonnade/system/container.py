"""The objects of one service, built once from its declarations; users never see the container."""

from collections.abc import Mapping
from typing import Any

from dishka import AsyncContainer, Provider, Scope, make_async_container
from dishka.exception_base import DishkaError

from colonnade.application import Repository
from colonnade.persistence.kinds import AggregateKind
from colonnade.system.declarations import Declarations
from colonnade.system.errors import Mistake

__all__ = ["make_container", "repository_of"]


def repository_of(kind: AggregateKind[Any]) -> Any:  # Any: what a parameter is annotated with
    """The annotation by which handlers ask for the repository of a kind of aggregates."""
    return Repository[kind.type]  # type: ignore[name-defined]  # made at run time


def make_container(declared: Declarations, ports: Mapping[Any, object]) -> AsyncContainer:
    """A container of the service's handlers, reactions and providers over `ports` (annotation to object).

    The whole graph is checked here; raises `Mistake` for a parameter that nothing provides.
    """
    provider = Provider(scope=Scope.APP)
    for annotation, port in ports.items():
        provider.provide(_constant(port), provides=annotation)
    for function in declared.providers:
        provider.provide(function)
    for handler in declared.handlers:
        provider.provide(handler.kind)
    for reaction in (*declared.sagas, *declared.projections, *declared.subscribers):
        provider.provide(reaction.kind)
    try:
        return make_async_container(provider)
    except DishkaError as error:
        raise Mistake(
            f"the service {declared.service}",
            str(error).splitlines()[0],
            "add a provider whose return annotation is that port",
        ) from error


def _constant(port: object) -> Any:
    return lambda: port
