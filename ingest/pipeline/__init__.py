"""Turn raw bytes into records: `derive` is pure, `store` is one transaction."""
