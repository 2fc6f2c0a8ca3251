"""Read records: one way to read each kind of row."""
