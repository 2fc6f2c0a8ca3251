"""Decide which messages change nothing but their own place: no thread is loaded for these."""
