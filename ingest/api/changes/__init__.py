"""Change what people and programs may change: patches, comments, projects, users and bundles."""
