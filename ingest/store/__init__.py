"""Keep everything in a database. The only package that builds SQL."""
