"""Scan git repositories for landed patches, in a process beside the one that derives."""
