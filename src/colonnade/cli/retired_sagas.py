"""Sagas under way whose version or definition the code does not have any more."""

import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from colonnade.cli.saga_records import SagaOnRecord, Shown, list_sagas
from colonnade.system import Mistake
from colonnade.system.topology import Topology

__all__ = ["retired_sagas"]

NAMED = 3
"""How many instances a mistake names."""


async def retired_sagas(topology: Topology, data: Path) -> list[Mistake]:
    """A mistake for each version that live instances in `data` began with, and which is retired.

    Raises what reading a data directory does (`READING_FAILURES`).
    """
    oldest = {
        (service.name, saga.__name__): saga.oldest_version
        for service in topology.system.services
        for saga in service.sagas
    }
    names = {service.name for service in topology.system.services}
    live = await list_sagas(data, None, None, Shown.LIVE, sys.maxsize)
    # The data of another system is none of this one's business
    ours = [saga for saga in live if saga.service in names]
    retired = sorted((saga for saga in ours if _is_retired(saga, oldest)), key=_version)
    return [_mistake([*sagas], oldest) for _, sagas in groupby(retired, key=_version)]


def _version(saga: SagaOnRecord) -> tuple[str, str, int]:
    return saga.service, saga.name, saga.instance.plan.saga_version


def _is_retired(saga: SagaOnRecord, oldest: Mapping[tuple[str, str], int]) -> bool:
    service, name, version = _version(saga)
    return version < oldest.get((service, name), sys.maxsize)


def _mistake(sagas: list[SagaOnRecord], oldest: Mapping[tuple[str, str], int]) -> Mistake:
    service, name, version = _version(sagas[0])
    named = ", ".join(f"{name}/{saga.instance.id}" for saga in sagas[:NAMED])
    if len(sagas) > NAMED:
        named += f" and {len(sagas) - NAMED} more"
    has, it, them = ("has", "it has", "it") if len(sagas) == 1 else ("have", "they have", "them")
    if (service, name) in oldest:
        reason = f"{named} {has} not ended and began with version {version}, which is retired"
        remedy = f"keep its oldest_version at {version} until {it} ended"
    else:
        reason = f"{named} {has} not ended and its definition is gone"
        remedy = f"keep it until {it} ended"
    remedy += f", or close {them} by hand (colonnade sagas close)"
    return Mistake(f"the saga {name} of {service}", reason, remedy)
