"""Delivery presentation."""
