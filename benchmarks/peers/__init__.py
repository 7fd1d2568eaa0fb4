"""The peers; their libraries are in the lock `bench` only."""
