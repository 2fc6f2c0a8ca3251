"""Classify messages and parse what they carry: subject, diff, hash, patch-id, trailers."""
