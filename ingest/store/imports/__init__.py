"""Write what is imported from a Patchwork site."""
