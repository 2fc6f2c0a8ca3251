"""The daemon: mail from listeners into the store, and what was accepted into records."""
