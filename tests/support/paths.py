"""Where the tests find what is not code."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
# Real mail, which the repository does not contain.
SHARED = Path(os.environ.get("SHARED", ROOT.parent / "shared"))
ARCHIVE = Path(os.environ.get("CORPUS", SHARED / "corpus" / "linux-ext4.bundle"))
SEED = SHARED / "seed"
