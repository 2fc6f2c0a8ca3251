"""The HTTP API and the web pages: records in the shape of Patchwork's REST API."""
