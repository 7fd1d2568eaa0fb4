"""Delivery application."""
