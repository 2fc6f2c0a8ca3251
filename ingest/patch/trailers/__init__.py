"""Find trailers in the text of patches, covers and replies."""
