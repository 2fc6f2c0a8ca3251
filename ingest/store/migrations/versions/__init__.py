"""Hold the migrations, the oldest first."""
