"""Inventory ."""
