"""Parse raw bytes into a `Message`. Any bytes give a `Message`, with its defects listed."""
