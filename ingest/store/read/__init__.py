"""The read path: one way to read each kind of row."""
