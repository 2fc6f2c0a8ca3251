"""Read the configuration from a TOML file into frozen values."""
