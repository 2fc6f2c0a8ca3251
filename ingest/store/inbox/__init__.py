"""Keep accepted mail: the raw bytes, the queue of mail to be derived, and the quarantine."""
