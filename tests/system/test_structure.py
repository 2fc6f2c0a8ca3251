"""Test the rules of the layout that neither import-linter nor Ruff checks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingest

PACKAGE = Path(ingest.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
PACKAGES = sorted({path.parent for path in MODULES})

# What modules outside the store may import of SQLAlchemy: handles, rows, and what can be raised.
HANDLES = {"Connection", "Engine", "Row", "URL", "exc"}
EXCEPTIONS = {"sqlalchemy.exc"}

# Words that say where or when something is, or what happens to it, and not what it is.
PREPOSITIONS = {
    "about", "above", "after", "against", "along", "among", "around", "at", "before", "behind",
    "below", "beneath", "beside", "between", "beyond", "by", "for", "from", "in", "inside", "into",
    "near", "of", "off", "on", "onto", "out", "outside", "over", "through", "to", "toward", "under",
    "until", "upon", "with", "within", "without",
}  # fmt: skip
# Participles that this code base once used, and others like them.
PARTICIPLES = {
    "arranging", "asked", "asking", "bound", "broken", "chosen", "closed", "compared", "deriving",
    "done", "finding", "fixed", "found", "given", "gone", "happening", "heard", "held", "known",
    "landed", "lost", "made", "matching", "mended", "moved", "named", "parsed", "parsing", "plain",
    "reading", "received", "rewritten", "said", "seen", "sent", "setting", "sound", "split",
    "spoken", "standing", "stored", "taken", "told", "vouched", "vouching", "wanted", "writing",
    "written",
}  # fmt: skip

MAX_MODULES = 14
# Packages with more modules, each with the reason.
LARGE_PACKAGES: dict[str, str] = {
    "cli/commands": "one module for each command",
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports_of_sqlalchemy(path: Path) -> Iterator[str]:
    """Yield every name of SQLAlchemy that a module imports anywhere."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("sqlalchemy"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_allowed(name: str) -> bool:
    module, _, symbol = name.rpartition(".")
    return module in EXCEPTIONS or (module == "sqlalchemy" and symbol in HANDLES)


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.relative_to(PACKAGE).parts[0] != "store"], ids=name_of
)
def test_only_the_store_builds_sql(path: Path) -> None:
    forbidden = [name for name in imports_of_sqlalchemy(path) if not is_allowed(name)]
    assert forbidden == []


@pytest.mark.parametrize("path", [*MODULES, *PACKAGES[1:]], ids=name_of)
def test_no_module_is_named_for_a_preposition_or_a_participle(path: Path) -> None:
    assert path.stem not in PREPOSITIONS | PARTICIPLES


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_packages_are_small(package: Path) -> None:
    modules = [path for path in package.glob("*.py") if path.name != "__init__.py"]
    if name_of(package) in LARGE_PACKAGES:
        assert len(modules) > MAX_MODULES, f"{name_of(package)} is small: take it off the list"
    else:
        assert len(modules) <= MAX_MODULES
