"""Find out who really sent a message, and which signatures authenticate the sender."""
