"""The write path: what was derived becomes rows."""
