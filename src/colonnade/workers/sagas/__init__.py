"""Sagas: long transactions over services, recorded, undone in reverse, ended for certain."""
