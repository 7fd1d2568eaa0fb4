"""Testing: aggregates by given and when, a whole system in one process, conformance suites for adapters."""

from colonnade.testing.given import given
from colonnade.testing.http import HttpAnswer
from colonnade.testing.running import RunningSystem, running_system

__all__ = ["HttpAnswer", "RunningSystem", "given", "running_system"]
