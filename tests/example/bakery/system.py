"""The bakery as a system."""

from bakery import baking, selling
from colonnade.system import System

__all__ = ["bakery"]

bakery = System("bakery", [baking.service, selling.service])
