"""Say which database a test runs on in `make test`, where it leaves the other to `make torture`.

Every test runs on both. But one that takes seconds, of a rule that is the same code on both, runs
on one of them only when everything is run.
"""

from __future__ import annotations

import pytest


def mainly_on(database: str, fixture: str = "database_url") -> pytest.MarkDecorator:
    """Mark a test that leaves the other database to `make torture`.

    `fixture`: what the test takes, `database_url` or `store_url` (also if by way of `engine`).
    """
    return pytest.mark.parametrize(
        fixture,
        [
            pytest.param(name, marks=() if name == database else pytest.mark.torture)
            for name in ("sqlite", "postgresql")
        ],
        indirect=True,
    )
