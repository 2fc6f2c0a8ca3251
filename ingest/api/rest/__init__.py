"""What all resources of the API share: methods, media types, bodies, and pages for browsers."""
