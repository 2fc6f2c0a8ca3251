"""Keep the repositories in which patches land, how far they were scanned, and their commits."""
