"""Inventory infrastructure."""
