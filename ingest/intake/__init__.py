"""Where mail comes from. Hands on raw bytes and where they stood; knows nothing of their content."""
