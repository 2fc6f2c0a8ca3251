"""Replay archives into the store, and derive stored mail again."""
