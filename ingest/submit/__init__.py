"""Submit one mail to the daemon: `ingest pipe` and its LMTP client; standard library only."""
