"""What can be wrong with a system before its first request."""

from collections.abc import Sequence

__all__ = ["InvalidSystem", "Mistake"]


class Mistake(Exception):
    """One thing that is wrong: where, why, and what to do about it."""

    def __init__(self, place: str, reason: str, remedy: str) -> None:
        super().__init__(place, reason, remedy)
        self.place, self.reason, self.remedy = place, reason, remedy

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}; {self.remedy}."


class InvalidSystem(Exception):
    """A system that cannot run, with all of its mistakes."""

    def __init__(self, system: str, mistakes: Sequence[Mistake]) -> None:
        super().__init__(system, mistakes)
        self.system, self.mistakes = system, mistakes

    def __str__(self) -> str:
        return "\n".join([f"The system {self.system} cannot run:", *(f"  - {mistake}" for mistake in self.mistakes)])
