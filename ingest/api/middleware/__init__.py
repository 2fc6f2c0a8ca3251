"""ASGI middleware: what happens to every request before its endpoint is called."""
