"""Payments presentation."""
