"""Define how the program connects to PostgreSQL, for SQLAlchemy and for commands without it."""

# libpq's parameters, unless the URL sets them. Without them, a server that has vanished from the
# network is waited for until TCP gives up: a quarter of an hour, or hours when waiting for a
# response. With them it takes a minute, so that the daemon does not count as stuck. A server that
# is only slow acknowledges what it receives and is waited for. None of this applies to Unix
# sockets.
POSTGRESQL_DEFAULTS = {
    "connect_timeout": "10",  # seconds, for each address of the server
    "tcp_user_timeout": "60000",  # milliseconds for what was sent to be acknowledged
    "keepalives_idle": "30",  # seconds of silence
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
