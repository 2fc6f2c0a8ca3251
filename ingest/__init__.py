"""Ingest mail of patch mailing lists: turn it into patches, series and reviews."""

__version__ = "0.1.0"
