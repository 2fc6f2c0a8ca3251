"""Store what a Patchwork site has beside its mail: states, bundles, projects, numbers."""
