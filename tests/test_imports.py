"""Imports run one way: each module stands on others, and none on itself."""

import ast
import graphlib
from pathlib import Path

import fastnn

PACKAGE = Path(fastnn.__file__).parent


def parts(path):
    """The name of a module as a tuple; the package itself is ()."""
    found = path.relative_to(PACKAGE).with_suffix("").parts
    return found[:-1] if found[-1] == "__init__" else found


MODULES = {parts(path): path for path in PACKAGE.rglob("*.py")}


def imported(tree, package):
    """The modules that a module in this package imports, but for types alone; anywhere in it."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.ImportFrom) and tree.level:
        base = package[: len(package) - tree.level + 1]
        base += tuple(tree.module.split(".")) if tree.module else ()
        for alias in tree.names:
            yield (*base, alias.name) if (*base, alias.name) in MODULES else base
    for child in ast.iter_child_nodes(tree):
        yield from imported(child, package)


def test_imports_run_one_way():
    graph = {}
    for name, path in MODULES.items():
        package = name if path.name == "__init__.py" else name[:-1]
        found = set(imported(ast.parse(path.read_text(encoding="utf-8")), package))
        graph[name] = found - {()}  # the version stands in the package itself
    assert graph["network",] >= {("files",), ("training",), ("program",)}
    assert ("network",) not in graph["files",] | graph["training",]
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError and names the circle
