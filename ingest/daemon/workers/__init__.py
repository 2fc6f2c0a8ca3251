"""Parse untrusted mail in child processes that have limits and may be killed."""
