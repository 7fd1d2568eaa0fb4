"""Grocer: the reference system, a supermarket chain whose shopping baskets become orders."""
