"""Inventory presentation."""
