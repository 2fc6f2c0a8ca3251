"""Read the database of a Patchwork site, of version 2.2 to 3.3."""
