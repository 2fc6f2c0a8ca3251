"""Mail ingestion for patch mailing lists: list mail in, patches, series and reviews out."""

__version__ = "0.1.0"
