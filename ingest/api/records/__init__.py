"""Build the records of the API from rows, in the shape of Patchwork's REST API."""
