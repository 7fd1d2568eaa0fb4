"""Every test of read models that asks for a `home`, or for `memory`, runs on each engine."""

from .bank import running_bank
from .everything import memory
from .homes import home, new_home

__all__ = ["home", "memory", "new_home", "running_bank"]
