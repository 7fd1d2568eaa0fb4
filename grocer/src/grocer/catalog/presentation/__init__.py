"""Catalog presentation."""
