"""Report on the daemon: its log, metrics, health and notifications to systemd."""
