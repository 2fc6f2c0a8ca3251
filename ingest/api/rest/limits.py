"""How much a client may write in one field. The description of the API names the same limits."""

from __future__ import annotations

# Characters.
MAX_COMMIT_REF = 255
MAX_CHECK_CONTEXT = 255
MAX_CHECK_URL = 200
MAX_CHECK_DESCRIPTION = 20_000
MAX_BUNDLE_NAME = 50
MAX_PROJECT_TEXT = 2_000
MAX_USER_TEXT = {"first_name": 150, "last_name": 150, "email": 254}
MAX_METADATA_KEY = 255
MAX_METADATA_VALUE = 4_000

# Patches of a relation, and of a bundle.
MAX_RELATED_PATCHES = 250
MAX_BUNDLE_PATCHES = 1_000
