"""What clients are shown: records in the shape of Patchwork's REST API."""
