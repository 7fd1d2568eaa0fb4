"""What somebody waits for at this moment."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Foreground"]


class Foreground:
    """How many requests are being answered in this process; work in the background lets them pass.

    `beside` is how many messages are being done at once (`workers/at_once`) meanwhile.
    """

    __slots__ = ("beside", "requests")

    def __init__(self) -> None:
        self.requests = self.beside = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A request is being answered."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
