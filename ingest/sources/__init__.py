"""Readers of archives: mbox, Maildir, public-inbox, `.eml`; imports no database."""
