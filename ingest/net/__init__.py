"""Addresses, sockets and networks: what SMTP, the API and the metrics listen at."""
