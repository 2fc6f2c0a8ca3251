"""Who really sent a message: the person behind a list's rewriting, and what vouches for them."""
