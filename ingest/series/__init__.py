"""Threads, series and revisions: pure functions over the set of submissions of one thread."""
