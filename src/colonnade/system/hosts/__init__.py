"""Hosts: how a system's services become processes."""
