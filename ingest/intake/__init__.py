"""Where mail comes from: raw bytes and where they stood; knows nothing of their content."""
