"""Delivery ."""
