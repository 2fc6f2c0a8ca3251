"""The web pages: HTML that is rendered on the server and works without scripts."""
