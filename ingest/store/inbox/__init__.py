"""Accepted mail: the raw bytes, the queue of what is to be derived, the quarantine."""
