"""List public names that two modules of `ingest` define; `make lint` fails while there are any.

    python tests/support/duplicate_names.py

A name that is used twice in the code base means the same thing twice, so a class, function or
constant is defined at the top level of one module only. `ALLOWED` lists the exceptions.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ingest"

# name -> why several modules may define it
ALLOWED = {
    "T": "the type variable of a generic function; it has no meaning outside its module",
    "TYPE_CHECKING": "modules that must start fast set it to False and do not import typing",
    "command": "each module of cli/commands/ defines the command that it is named after",
    "log": "each module that logs has its own logger",
    "main": "the entry point of a program; each of these modules can be run as one",
}


def defined_names(path: Path) -> set[str]:
    """Return the public names that a module defines at its top level."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def duplicates(package: Path = PACKAGE) -> dict[str, list[str]]:
    """Return each public name that more than one module defines, with these modules."""
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        if "migrations" in path.parts:
            continue  # every revision defines `revision`, `upgrade` and `downgrade`
        for name in defined_names(path):
            modules[name].append(str(path.relative_to(package.parent)))
    return {name: paths for name, paths in sorted(modules.items()) if len(paths) > 1}


def main() -> int:
    """Print the duplicates and the exceptions that are no longer needed; return the status."""
    found = duplicates()
    errors = [
        f"{name} is defined in {len(paths)} modules: {', '.join(paths)}"
        for name, paths in found.items()
        if name not in ALLOWED
    ]
    errors += [f"{name} needs no exception any more" for name in ALLOWED if name not in found]
    for error in errors:
        print(f"duplicate_names: {error}", file=sys.stderr)  # noqa: T201
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
