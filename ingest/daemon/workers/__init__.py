"""Child processes that parse untrusted mail under limits and may be killed."""
