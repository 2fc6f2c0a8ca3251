"""Report on a store: export, audit, check, and the quality of its series."""
