"""Run the jobs of the daemon, each in a process of its own: accept, derive and API."""
