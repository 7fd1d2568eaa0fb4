"""Every test of read models that asks for a `home` runs on each engine."""

from .bank import running_bank
from .homes import home, new_home

__all__ = ["home", "new_home", "running_bank"]
