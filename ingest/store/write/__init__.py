"""Write derived mail into the store: messages, series and what belongs to them."""
