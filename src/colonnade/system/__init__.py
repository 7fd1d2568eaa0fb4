"""Systems: services declared as data, checked as a whole, and run."""

from colonnade.system.errors import InvalidSystem, Mistake
from colonnade.system.service import Service, System

__all__ = ["InvalidSystem", "Mistake", "Service", "System"]
