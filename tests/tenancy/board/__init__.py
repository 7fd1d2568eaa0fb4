"""A system for tests of tenancy: notes under ids of the caller's choice, an archive that a saga files them in."""

from colonnade.system import System
from tests.tenancy.board import archive, notes

__all__ = ["board"]

board = System("board", [notes.service, archive.service])
