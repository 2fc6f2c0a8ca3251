"""Replay archives into the store, in several processes."""
