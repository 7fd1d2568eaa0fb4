"""Catalog application."""
