"""Compare the store with what it should contain."""
