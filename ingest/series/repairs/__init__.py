"""Repair series that were torn, mixed or sent in part."""
