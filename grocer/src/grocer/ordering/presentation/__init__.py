"""Ordering presentation."""
