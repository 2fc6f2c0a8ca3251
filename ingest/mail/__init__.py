"""Raw bytes to a `Message`. Total: any bytes give a `Message`, with its defects listed."""
