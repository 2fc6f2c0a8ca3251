"""Speak SMTP and LMTP as a server (RFC 5321, RFC 2033), without any database."""
