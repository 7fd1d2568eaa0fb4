"""Projections: the log of a service, turned into the rows of its read models."""

from colonnade.workers.projections.filling import PoisonEvent
from colonnade.workers.projections.projector import Progress, Projector

__all__ = ["PoisonEvent", "Progress", "Projector"]
