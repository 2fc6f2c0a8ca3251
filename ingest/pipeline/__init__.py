"""From raw bytes to records: `derive` is pure, `store` is one transaction."""
