"""Open databases, check the version of their schema, and begin the transactions that write."""
