"""Payments infrastructure."""
