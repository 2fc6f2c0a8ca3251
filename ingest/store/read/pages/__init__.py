"""Find what one page of a list shows: the filters, the queries and the indexes for words."""
