"""How fast a backlog is worked off: whoever asks for something meanwhile finds the machine and its disk mostly free."""

__all__ = ["BURST", "Pace"]

BURST = 8
"""How many messages of a backlog are begun together, and committed together, so that the disk is idle between."""

RESTS = 8
"""How long nothing of a backlog is begun after a burst, in times of what it took until its first message was done: a
backlog takes a ninth of the machine, however fast that is."""

LONGEST_SECONDS = 0.1
"""The longest rest: a burst that took longer waited for the outside, which troubles nobody."""

A_NEW_ONE = 4
"""As many messages of a backlog are begun for each new one, so that it shrinks however many come."""

MOST_OWED = 64

ALONE_SECONDS = 5.0
"""When nothing new has come for so long there is nobody to wait, and a backlog does not rest."""


class Pace:
    """Bursts, and rests between them that are longer when the bursts take longer. Times are monotonic seconds."""

    __slots__ = ("_began", "_newest", "_owed", "_until")

    def __init__(self) -> None:
        self._began: float | None = None
        self._newest: float | None = None
        self._owed = 0
        self._until = 0.0

    def rest(self, now: float) -> float:
        """For how many seconds nothing of the backlog may begin; a burst may where that is not above 0."""
        if self._owed >= BURST or (self._newest is not None and now - self._newest >= ALONE_SECONDS):
            return 0.0
        return self._until - now

    def begin(self, now: float, old: int, new: int) -> None:
        """So many messages of the backlog begin, and so many others."""
        if new or self._newest is None:  # who asks is not known before a backlog has begun
            self._newest = now
        self._owed = max(-MOST_OWED, min(MOST_OWED, self._owed + A_NEW_ONE * new - old))
        if old:
            self._began = now
            self._until = now + LONGEST_SECONDS

    def done(self, now: float) -> None:
        """A message of the backlog is done."""
        if self._began is not None:
            self._until = now + min(LONGEST_SECONDS, RESTS * (now - self._began))
            self._began = None
