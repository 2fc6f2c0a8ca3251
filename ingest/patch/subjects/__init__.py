"""Parse subjects: leading brackets, their markers, and what they mean."""
