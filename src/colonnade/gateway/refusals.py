"""What the gateway refuses by itself, inside a process or as one."""

from collections.abc import Collection

from colonnade.presentation.problems import Problem

__all__ = ["REQUESTS_IN_FLIGHT", "busy", "unknown_route"]

REQUESTS_IN_FLIGHT = 1_000
"""How many requests are worked on at a time; more are told to come again."""

_RETRY = ((b"retry-after", b"1"),)


def busy(limit: int, whose: str = "") -> Problem:
    """There is no room for one more request; of `whose` ones, where only theirs are too many."""
    requests = f"{limit} requests of {whose}" if whose else f"{limit} requests"
    detail = f"{requests} are being worked on; come again in a moment."
    return Problem(503, "colonnade.Busy", detail, headers=_RETRY)


def unknown_route(path: str, services: Collection[str]) -> Problem:
    """Nothing of `services` is at `path`."""
    known = ", ".join(sorted(services))
    return Problem(404, "colonnade.UnknownRoute", f"There is nothing at {path}; under /api/ there are {known}.")
