"""What the daemon reports: its log, metrics, health and systemd's notifications."""
