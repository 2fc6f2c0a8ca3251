"""HTML pages for people, rendered on the server, usable without scripts."""
