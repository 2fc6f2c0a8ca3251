"""Store what people and bots add to the mail: accounts, checks, overrides, and events."""
