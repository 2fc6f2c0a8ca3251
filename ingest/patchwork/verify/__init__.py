"""Compare a store with the Patchwork site that was imported into it, field by field."""
