"""Ordering ."""
