"""What a message is, and what it carries: subject markers, diff, hash, patch-id, trailers."""
