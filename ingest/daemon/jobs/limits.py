"""Define how long the jobs may take, in seconds."""

from __future__ import annotations

from ingest.daemon.jobs.order import Job

# A thread without progress for so long is stuck: the transaction of a batch takes a fraction of a
# second, and waits for the locks of others for `BUSY_SECONDS` at most.
STUCK = 120.0
# The patience with a process that does not respond, or is stuck, before it is killed.
PATIENCE = 10.0
# The longest wait before a process is started again. One that has lived for so long worked, and is
# started again at once.
LAST_DELAY = 10.0
# For sessions to end, and again for their mail to be committed.
DRAIN = 30.0
# For mail that is being derived, and for the rest of its last transaction.
FINISH_DERIVING = 10.0
LAST_WAIT = 5.0
# For requests to the API, and for webhooks.
FINISH_API = 15.0
# For a process to end, once its job has stopped.
EXIT = 3.0


def stop_seconds(job: Job) -> float:
    """Return how long the process of a job may take to stop."""
    match job:
        case Job.ACCEPT:
            return 2 * DRAIN + EXIT
        case Job.DERIVE:
            return FINISH_DERIVING + LAST_WAIT + EXIT
        case Job.API:
            return FINISH_API + EXIT


# The longest shutdown: accepting stops before the others do. A service manager must wait longer
# between SIGTERM and SIGKILL.
MAX_SHUTDOWN = stop_seconds(Job.ACCEPT) + max(map(stop_seconds, (Job.DERIVE, Job.API)))
