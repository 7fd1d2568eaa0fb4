"""The bakery as a system."""

from colonnade.system import System
from tests.example.bakery import baking, selling

__all__ = ["bakery"]

bakery = System("bakery", [baking.service, selling.service])
