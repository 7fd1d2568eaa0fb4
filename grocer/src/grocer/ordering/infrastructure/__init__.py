"""Ordering infrastructure."""
