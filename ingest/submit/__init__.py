"""`ingest pipe` and its LMTP client; standard library only."""
