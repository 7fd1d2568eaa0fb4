"""Catalog ."""
