"""The import rule of design.md §4 and raynas/README.md, held over the syntax trees."""

import ast
from pathlib import Path

import raynas

ROOT = Path(raynas.__file__).parent
RANKS = {
    **dict.fromkeys(["errors", "seeds", "interrupts", "plain", "store_errors"], -2),
    **dict.fromkeys(
        ["registry", "config", "search_config", "supernet_config", "storage", "disk"], -1
    ),
    "spaces": 0,
    "scheduling": 1,
    "networks": 2,
    **dict.fromkeys(["training", "proxies", "predictor", "proposing", "tabular"], 3),
    "supernets": 4,
    "selection": 5,
    **dict.fromkeys(["runs", "report"], 6),
    "engine": 7,
    **dict.fromkeys(["setup", "supernet_setup"], 7),
    "loading": 7,
    "costing": 6,
    "session": 8,
    "supernet_session": 8,
    "comparing": 8,
    "diagnostics": 8,
    "retraining": 8,
    "exporting": 8,
    "api": 9,
    "cli": 10,
    "testing": 11,
    "__init__": 12,
    "__main__": 12,
}
SAME_RANK = {
    ("proposing", "predictor"),
    ("proposing", "proxies"),
    ("setup", "engine"),
    ("search_config", "config"),
    ("store_errors", "errors"),
    ("supernet_config", "config"),
    ("report", "runs"),
}
PURE = ("spaces", "scheduling", "runs", "config", "errors", "registry", "seeds", "cli", "storage")


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Yield (imported module, line, function it is inside or None, only for types)."""
    tree = ast.parse(path.read_text())

    def walk(node, function, typing_only):
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, ast.FunctionDef) else function
            typed = typing_only or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            )
            if isinstance(child, ast.Import):
                yield from ((a.name, child.lineno, function, typed) for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield (child.module, child.lineno, function, typed)
            yield from walk(child, inside, typed)

    yield from walk(tree, None, False)


def test_imports_go_downwards():
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        here = room(path)
        for module, line, function, typed in imports(path):
            if not module.startswith("raynas.") or here in ("__init__", "__main__"):
                continue
            there = module.split(".")[1]
            allowed = (
                here == there
                or RANKS[there] < RANKS[here]
                or (here, there) in SAME_RANK
                or (here == "spaces" and there == "networks" and function == "build")
                or typed
            )
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert wrong == []


def test_ray_only_in_engine_and_torch_not_in_pure_rooms():
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        for module, line, _function, typed in imports(path):
            top = module.split(".")[0]
            if typed:
                continue
            if (top == "ray" and room(path) != "engine") or (top == "torch" and room(path) in PURE):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert wrong == []
