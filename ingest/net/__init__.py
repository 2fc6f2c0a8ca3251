"""Bind sockets, take over those of systemd, and match addresses with networks."""
