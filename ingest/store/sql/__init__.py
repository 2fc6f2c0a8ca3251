"""Help with statements that SQLAlchemy lacks or runs slowly. Nothing here knows the tables."""
