"""The configuration: a TOML file in, frozen values out."""
