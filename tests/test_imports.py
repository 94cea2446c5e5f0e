"""Imports run one way: each module stands on others, and none on itself."""

import ast
import graphlib
from pathlib import Path

import fastnn

PACKAGE = Path(fastnn.__file__).parent


def imported(tree):
    """The modules of the package that a module imports, but for types alone; anywhere in it."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.ImportFrom) and tree.level == 1:
        for alias in tree.names:
            name = tree.module or alias.name
            if name != "__version__":
                yield name
    for child in ast.iter_child_nodes(tree):
        yield from imported(child)


def test_imports_run_one_way():
    graph = {
        path.stem: {*imported(ast.parse(path.read_text(encoding="utf-8")))}
        for path in PACKAGE.glob("*.py")
    }
    assert graph["network"] >= {"files", "training", "program"}
    assert "network" not in graph["files"] | graph["training"]
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError and names the circle
