"""The API's endpoints: each function handles one method of one path."""
