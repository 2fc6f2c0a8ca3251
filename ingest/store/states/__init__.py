"""Keep the evidence for the states of patches, and the states that follow from it."""
