"""Import a Patchwork site: plan, make mails from its rows, store them, verify the result."""
