"""Scan configured repositories for commits in which patches have landed."""
