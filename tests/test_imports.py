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


def imported(tree, package, types=False):
    """The modules that a module in this package imports anywhere in it; or for types, too."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING" and not types:
        return
    if isinstance(tree, ast.ImportFrom) and tree.level:
        base = package[: len(package) - tree.level + 1]
        base += tuple(tree.module.split(".")) if tree.module else ()
        for alias in tree.names:
            yield (*base, alias.name) if (*base, alias.name) in MODULES else base
    for child in ast.iter_child_nodes(tree):
        yield from imported(child, package, types)


def imports(types=False):
    """{name of a module: what it imports}, without the package itself, where the version is."""
    graph = {}
    for name, path in MODULES.items():
        package = name if path.name == "__init__.py" else name[:-1]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        graph[name] = set(imported(tree, package, types)) - {()}
    return graph


def test_imports_run_one_way():
    graph = imports()
    assert graph["network",] >= {("files",), ("training",), ("rows",), ("program",)}
    assert graph["training",] >= {("rows",), ("program",)}
    assert ("network",) not in graph["files",]
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError and names the circle


def test_what_trains_knows_no_network():
    """Not even for its types: a program, an engine and checked rows are enough."""
    graph, below, found = imports(types=True), {("training",), ("rows",)}, set()
    while below:
        found |= below
        below = set().union(*(graph.get(name, ()) for name in below)) - found  # _cpu is compiled
    assert not found & {("network",), ("files",), ("_fields",)}


def private(tree):
    """Where a module uses private attributes of a network: [(line, what stands there)]."""
    return [
        (node.lineno, ast.unparse(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value).rpartition(".")[2] in ("network", "net")
    ]


def test_networks_are_private_to_their_module():
    planted = "a = network._engine\nb = self.network._threads()\nc = net.trained, network.__dict__"
    assert private(ast.parse(planted)) == [(1, "network._engine"), (2, "self.network._threads")]
    for path in set(MODULES.values()) - {MODULES["network",]}:
        assert private(ast.parse(path.read_text(encoding="utf-8"))) == [], path
