"""Read archives of mail: mbox, Maildir, public-inbox and `.eml`.

This package does not import the database.
"""
