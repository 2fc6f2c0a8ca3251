"""Find diffs in text, and compute what identifies them."""
