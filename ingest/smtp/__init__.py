"""SMTP and LMTP from the server's side (RFC 5321, RFC 2033); imports no database."""
