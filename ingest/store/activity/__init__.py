"""What people and programs say of the records: accounts, overrides, checks, events."""
