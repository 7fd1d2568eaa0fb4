"""Readers that the horizon holds below what has been drawn, and who has to call them when it lets go."""

from collections.abc import Callable

__all__ = ["Hold"]


class Hold:
    """Calls `wake` when what held a look may be over, since nothing that the readers wait for is added then."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._is_held = False
        """Whether a look ended before what had been drawn by then, and nothing was decided since."""
        self._decided = 0

    def begin_look(self) -> int:
        """What has been decided by now."""
        return self._decided

    def end_look(self, decided: int, *, held: bool) -> None:
        """A look that began when so much was decided was `held` below what had been drawn by then, or not."""
        if held:
            if decided != self._decided:
                self._wake()  # it may be what was decided while one looked
            else:
                self._is_held = True

    def decided(self) -> None:
        """Positions were committed or came to nothing, or may have been: by this process, or by others."""
        self._decided += 1
        if self._is_held:
            self._is_held = False
            self._wake()
