"""Resolve the keys of signatures before mail is derived, in turns."""
