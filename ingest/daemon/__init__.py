"""Run the daemon: accept mail from listeners and derive its records."""
