"""Write the mails of patches for `git am`."""
