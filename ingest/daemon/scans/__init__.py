"""Scan git repositories for landed patches, in a process of its own."""
