"""Handlers: one class a use case, constructor injection, one `__call__`."""

from typing import Protocol, TypeVar

from colonnade.messages import Message

__all__ = ["Handler"]

M_contra = TypeVar("M_contra", bound=Message, contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Handler(Protocol[M_contra, R_co]):
    """Handles the one message class that its `__call__` is annotated with.

    A command's handler may run again after a conflict, so it does nothing outside its unit of work.
    """

    async def __call__(self, message: M_contra, /) -> R_co:
        """Handle `message` and return its answer."""
