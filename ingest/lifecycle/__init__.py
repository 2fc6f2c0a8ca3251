"""Derive the state of a patch from what its mail, later mail and git show. Pure."""
