"""Pages for people: the same records, rendered on the server, of use without scripts."""
