"""What must be true of Grocer, whatever happened: judged from what its services wrote down."""

from grocer.laws.books import Books
from grocer.laws.verdict import Breach, Law, Verdict

__all__ = ["Books", "Breach", "Law", "Verdict"]
