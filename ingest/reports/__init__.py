"""Reports on a store: export, audit, check, quality of series."""
