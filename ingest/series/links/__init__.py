"""Link a series to the earlier version of it."""
