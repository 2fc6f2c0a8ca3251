"""Parse MIME bodies into text (RFC 2045 to 2049, 3676)."""
