"""The endpoints of the API: each function handles one method of one path."""
