"""What the package may not do at all, held over its syntax trees; exceptions have a reason each."""

import ast
from pathlib import Path

import pytest

import raynas

ROOT = Path(raynas.__file__).parent

ALLOWED = {
    ("exporting/python_source.py", "exec"): "runs the text it has just written, to compare logits",
    ("tabular/unpickling.py", "pickle"): "a reader that refuses every name but plain data's",
    ("training/checkpoint.py", "pickle"): "the name of an exception that torch raises",
    ("testing.py", "pickle"): "pickles an object of the test's own and takes it back",
    ("registry.py", "import_module"): "the one place where module:Class is imported",
    ("__init__.py", "import_module"): "imports names of a literal table of its own",
    ("engine/*", "cloudpickle"): "messages between the processes of one run, which Ray pickles too",
}
CODE_RUNNERS = {"eval", "exec", "compile", "__import__", "breakpoint"}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
SHELLS = {"os.system", "os.popen", "commands.getoutput", "subprocess.getoutput"}
SAFE_YAML = {
    "yaml.safe_load",
    "yaml.safe_dump",
    "yaml.SafeLoader",
    *(f"yaml.{name}" for name in ("YAMLError", "Node", "ScalarNode", "MappingNode")),
}
UNPACKERS = {"extractall", "extract", "unpack_archive"}


def dotted(node):
    """Return ``a.b.c`` of a name or an attribute."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def keyword(call, name):
    return next((k.value for k in call.keywords if k.arg == name), None)


def is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def of_call(call):
    """Yield what is wrong with a call."""
    name = dotted(call.func)
    last = name.rpartition(".")[2]
    if name in CODE_RUNNERS:
        yield name if name != "compile" else "exec"
    if name == "torch.load" and not is_constant(keyword(call, "weights_only"), True):
        yield "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and not is_constant(keyword(call, "allow_pickle"), False):
        yield "np.load without allow_pickle=False"
    if name in SHELLS or name.startswith(("os.exec", "os.spawn")):
        yield "a shell"
    if (shell := keyword(call, "shell")) is not None and not is_constant(shell, False):
        yield "a shell"
    if last in UNPACKERS:
        yield "an archive is unpacked"
    if last == "import_module":
        yield "import_module"
    if last in ("read_pickle", "load_library") or name.endswith(("jit.load", "hub.load")):
        yield "a file is run"


def of_import(node):
    names = (
        [alias.name for alias in node.names]
        if isinstance(node, ast.Import)
        else [node.module or "", *(alias.name for alias in node.names)]
    )
    for name in names:
        if name.partition(".")[0] in UNPICKLERS:
            yield "cloudpickle" if name == "cloudpickle" else "pickle"


def findings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((what, node.lineno) for what in of_call(node))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((what, node.lineno) for what in of_import(node))
        elif isinstance(node, ast.Attribute):
            name = dotted(node)
            if name.startswith("yaml.") and name not in SAFE_YAML:
                yield f"{name} is not safe YAML", node.lineno


def is_allowed(file, what):
    room = f"{file.partition('/')[0]}/*"
    return (file, what) in ALLOWED or (room, what) in ALLOWED


def test_nothing_in_the_package_runs_what_it_reads():
    wrong, used = [], set()
    for path in sorted(ROOT.rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        for what, line in findings(ast.parse(path.read_text())):
            if is_allowed(file, what):
                used |= {
                    key
                    for key in ALLOWED
                    if key[1] == what and key[0] in (file, f"{file.partition('/')[0]}/*")
                }
            else:
                wrong.append(f"{file}:{line}: {what}")
    assert wrong == []
    assert used == set(ALLOWED), "an exception nobody needs any more"


def test_checkpoints_take_only_an_exception_from_pickle():
    tree = ast.parse((ROOT / "training" / "checkpoint.py").read_text())
    used = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {name for name in used if name.startswith("pickle.")} == {"pickle.UnpicklingError"}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "from ray import cloudpickle",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "yaml.full_load(text)",
        "eval(text)",
        "exec(text)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "os.popen('ls')",
        "archive.extractall()",
        "pd.read_pickle(path)",
        "torch.jit.load(path)",
        "importlib.import_module(name)",
    ],
)
def test_each_is_found(code):
    assert list(findings(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "yaml.safe_load(text)",
        "network.eval()",
        "subprocess.run(['ls'])",
    ],
)
def test_what_is_fine_is_not(code):
    assert not list(findings(ast.parse(code)))
