"""The database: the only package that builds SQL."""
