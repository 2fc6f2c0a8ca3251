"""Send events to the addresses that the configuration names."""
