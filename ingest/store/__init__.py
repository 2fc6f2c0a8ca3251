"""The only room that opens transactions: schema, migrations, the write path, the read path."""
