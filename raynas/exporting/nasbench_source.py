"""The source of networks of NAS-Bench-201, NAS-Bench-101 and of a user's own cells."""

from collections.abc import Callable, Sequence

from raynas.errors import UsageError
from raynas.exporting.source_parts import (
    AVG_POOL,
    CONV_NORM,
    MAX_POOL,
    REDUCTION,
    staged_network,
    used,
)
from raynas.networks import nasbench101_network, nasbench201_network
from raynas.networks.nasbench101_network import NORM_MOMENTUM, vertex_channels
from raynas.spaces.architecture import Architecture
from raynas.spaces.cell import Edge, live_edges
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.nasbench101 import Module, NasBench101
from raynas.spaces.nasbench201 import EDGES, NasBench201
from raynas.spaces.space import TaskShape

_HELPERS = {
    "conv_norm(": CONV_NORM,
    "Reduction(": REDUCTION,
    "avg_pool(": AVG_POOL,
    "max_pool(": MAX_POOL,
}

# -- cells whose edges carry ops -------------------------------------------------------------------


def nasbench201_source(space: NasBench201, architecture: Architecture, task: TaskShape) -> str:
    """Return the text of the modules of a network, `Network` last."""
    ops = space.ops(architecture)
    edges = live_edges([Edge(*ends, op) for ends, op in zip(EDGES, ops, strict=True)], 3)
    kernels = nasbench201_network.KERNELS
    modules = {
        _name(edge): f"conv_norm(channels, channels, {kernels[edge.op]})"
        for edge in edges
        if edge.op in kernels
    }

    def term(edge: Edge) -> str:
        if edge.op in kernels:
            return f'conv["{_name(edge)}"](F.relu(n{edge.source}))'
        return f"avg_pool(n{edge.source})" if edge.op == "avg_pool_3x3" else f"n{edge.source}"

    lines = _cell_head("Four nodes; each sums what its edges bring.", "convs", "conv", modules)
    lines += _sums(edges, term)
    lines += ["        return n3" if edges else "        return torch.zeros_like(n0)", ""]
    calls, channels = _stages(space.channels, 3, space.cells_per_stage, "Cell({0})")
    what = f"Stem, 3 stages of {space.cells_per_stage} cells, average, linear classifier."
    stem = f"conv_norm({task.in_channels}, {space.channels}, 3)"
    text = "\n".join(lines) + "\n" + staged_network(calls, stem, channels, task.num_classes, what)
    return "\n".join([*used(_HELPERS, text), text])


_RELU_CONV_NORM = '''
def relu_conv_norm(in_channels, out_channels, kernel):
    """ReLU, convolution, batch norm."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out_channels))
'''

_CELL_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
_CELL_FUNCTIONS = {"avg_pool_3x3": "avg_pool(n{0})", "max_pool_3x3": "max_pool(n{0})"}


def user_cell_source(space: CellSpace, architecture: Architecture, task: TaskShape) -> str:
    """Return the text of the modules of a network, `Network` last.

    Raises:
        UsageError: an op that runs is code of the user's own.
    """
    edges, outputs = _live_connections(space, architecture)
    ops = {name: _built_in(name, op) for name, op in space.ops.items() if _runs(name, edges)}
    modules = {
        _name(edge): f"relu_conv_norm(channels, channels, {_CELL_KERNELS[ops[edge.op]]})"
        for edge in edges
        if ops[edge.op] in _CELL_KERNELS
    }

    def term(edge: Edge) -> str:
        op = ops[edge.op]
        if op in _CELL_KERNELS:
            return f'op["{_name(edge)}"](n{edge.source})'
        return _CELL_FUNCTIONS.get(op, "n{0}").format(edge.source)

    joins = space.output == "concat" and bool(outputs)
    lines = _cell_head(
        f"{space.nodes} nodes; each sums what its edges bring.",
        "ops",
        "op",
        modules,
        f"relu_conv_norm({len(outputs)} * channels, channels, 1)" if joins else None,
    )
    lines += _sums(edges, term)
    joined = ", ".join(f"n{node}" for node in outputs)
    answer = f"self.project(torch.cat([{joined}], dim=1))" if joins else f"n{space.nodes - 1}"
    lines += [f"        return {answer if outputs else 'torch.zeros_like(n0)'}", ""]
    calls, channels = _stages(space.channels, space.stages, space.cells_per_stage, "Cell({0})")
    what = f"Stem, {space.stages} stages of {space.cells_per_stage} cells, average, classifier."
    stem = f"conv_norm({task.in_channels}, {space.channels}, 3)"
    text = "\n".join(lines) + "\n" + staged_network(calls, stem, channels, task.num_classes, what)
    return "\n".join([*used({**_HELPERS, "relu_conv_norm(": _RELU_CONV_NORM}, text), text])


def _live_connections(space: CellSpace, architecture: Architecture) -> tuple[list[Edge], list[int]]:
    """Return the edges that reach the output, and the nodes that are the output."""
    none = {name for name, op in space.ops.items() if op == "none"}
    pairs = zip(space.edges, space.edge_ops(architecture), strict=True)
    edges = [Edge(*ends, "none" if op in none else op) for ends, op in pairs]
    last = space.nodes
    ends = range(1, last) if space.output == "concat" else [last - 1]
    live = live_edges([*edges, *(Edge(node, last, "") for node in ends)], last)
    inner = [edge for edge in live if edge.target < last]
    return inner, [edge.source for edge in live if edge.target == last]


def _runs(name: str, edges: Sequence[Edge]) -> bool:
    return any(edge.op == name for edge in edges)


def _built_in(name: str, op: object) -> str:
    if not isinstance(op, str):
        raise UsageError(
            f"format: op {name!r} is code of its own, which a source file cannot hold "
            "(allowed for it: pt2, onnx)"
        )
    return op


def _cell_head(
    what: str, attribute: str, short: str, modules: dict[str, str], project: str | None = None
) -> list[str]:
    """Return the lines of a cell up to its nodes."""
    lines = ["", "class Cell(nn.Module):", f'    """{what}"""', ""]
    lines += ["    def __init__(self, channels):", "        super().__init__()"]
    if modules:
        lines += ["        modules = {"]
        lines += [f'            "{name}": {made},' for name, made in modules.items()]
        lines += ["        }", f"        self.{attribute} = nn.ModuleDict(modules)"]
    if project is not None:
        lines += [f"        self.project = {project}"]
    lines += ["", "    def forward(self, n0):"]
    return [*lines, f"        {short} = self.{attribute}"] if modules else lines


def _sums(edges: Sequence[Edge], term: Callable[[Edge], str]) -> list[str]:
    """Return a line for each node that something reaches."""
    lines = []
    for target in sorted({edge.target for edge in edges}):
        terms = [term(edge) for edge in edges if edge.target == target]
        lines.append(f"        n{target} = {' + '.join(terms)}")
    return lines


def _stages(channels: int, stages: int, cells: int, cell: str) -> tuple[list[str], int]:
    """Return the call that makes each part of a body, and the channels of the last."""
    calls = []
    for stage in range(stages):
        if stage:
            calls.append(f"Reduction({channels}, {2 * channels})")
            channels *= 2
        calls += [cell.format(channels)] * cells
    return calls, channels


def _name(edge: Edge) -> str:
    return f"{edge.source}_{edge.target}"


# -- NAS-Bench-101: modules whose vertices are ops -------------------------------------------------

_CONV_NORM_RELU = f'''
def conv_norm_relu(in_channels, out_channels, kernel):
    """A convolution, a batch norm and a ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    layers = nn.Sequential()
    layers.add_module("conv", conv)
    layers.add_module("norm", nn.BatchNorm2d(out_channels, momentum={NORM_MOMENTUM}))
    layers.add_module("relu", nn.ReLU())
    return layers
'''


def nasbench101_source(space: NasBench101, architecture: Architecture, task: TaskShape) -> str:
    """Return the text of the modules of a network, `Network` last."""
    module = space.module(architecture)
    calls, width = [], space.channels
    for stack in range(space.stacks):
        if stack:
            calls.append("nn.MaxPool2d(2, ceil_mode=True)")
        for _ in range(space.modules_per_stack):
            widths = vertex_channels(module, width, space.channels << stack)
            calls.append(f"Cell({widths})")
            width = space.channels << stack
    text = _module_cell(module) + "\n" + _plain_network(calls, space, width, task)
    helpers = {"conv_norm_relu(": _CONV_NORM_RELU, "max_pool(": MAX_POOL}
    return "\n".join([*used(helpers, text), text])


def _module_cell(module: Module) -> str:
    kernels = nasbench101_network.KERNELS
    output = len(module.rows) - 1
    lines = [
        "",
        "class Cell(nn.Module):",
        '    """Inner vertices sum what they read; the output joins it."""',
        "",
        "    def __init__(self, widths):",
        "        super().__init__()",
        "        self.widths = widths",
        "        ops = {",
    ]
    for vertex, op in enumerate(module.ops, start=1):
        if op in kernels:
            made = f"conv_norm_relu(widths[{vertex}], widths[{vertex}], {kernels[op]})"
            lines.append(f'            "{vertex}": {made},')
    lines += ["        }", "        projections = {"]
    for target in module.targets(0):
        lines.append(f'            "{target}": conv_norm_relu(widths[0], widths[{target}], 1),')
    lines += [
        "        }",
        "        self.ops = nn.ModuleDict(ops)",
        "        self.projections = nn.ModuleDict(projections)",
        "",
        "    def forward(self, x):",
        "        op, project, width = self.ops, self.projections, self.widths",
    ]
    for vertex, op in enumerate(module.ops, start=1):
        sources = [source for source in module.sources(vertex) if source > 0]
        terms = [f"v{source}[:, : width[{vertex}]]" for source in sources]
        summed = _with_input(terms, vertex, module)
        call = f'op["{vertex}"]' if op in kernels else "max_pool"
        lines.append(f"        v{vertex} = {call}({summed})")
    parts = [f"v{source}" for source in module.sources(output) if source > 0]
    joined = [f"torch.cat([{', '.join(parts)}], dim=1)"] if len(parts) > 1 else parts
    lines += [f"        return {_with_input(joined, output, module)}", ""]
    return "\n".join(lines)


def _with_input(terms: list[str], vertex: int, module: Module) -> str:
    projected = [f'project["{vertex}"](x)'] if vertex in module.targets(0) else []
    return " + ".join([*terms, *projected])


def _plain_network(calls: list[str], space: NasBench101, width: int, task: TaskShape) -> str:
    return "\n".join(
        [
            "",
            "class Network(nn.Module):",
            f'    """Stem, {space.stacks} stacks of {space.modules_per_stack} modules, average, '
            'linear classifier."""',
            "",
            "    def __init__(self):",
            "        super().__init__()",
            f"        self.stem = conv_norm_relu({task.in_channels}, {space.channels}, 3)",
            "        body = [",
            *(f"            {call}," for call in calls),
            "        ]",
            "        self.body = nn.Sequential(*body)",
            f"        self.classifier = nn.Linear({width}, {task.num_classes})",
            "",
            "    def forward(self, images):",
            "        features = self.body(self.stem(images))",
            "        return self.classifier(features.mean(dim=(2, 3)))",
            "",
        ]
    )
