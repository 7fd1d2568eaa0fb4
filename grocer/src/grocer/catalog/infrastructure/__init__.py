"""Catalog infrastructure."""
