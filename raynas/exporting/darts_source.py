"""The source of networks of the DARTS family."""

from raynas.exporting.source_parts import CONV_NORM, used
from raynas.networks.darts_operations import SEPARABLE
from raynas.spaces.architecture import Architecture
from raynas.spaces.darts import DartsFamily
from raynas.spaces.darts_cell import Cell
from raynas.spaces.darts_ops import NODES, NOISE, NUM_INPUTS
from raynas.spaces.space import TaskShape

_CIFAR_STEM = '''
class Stem(nn.Module):
    """A convolution; both inputs of the first cell."""

    def __init__(self, in_channels, channels):
        super().__init__()
        self.conv = conv_norm(in_channels, 3 * channels, 3)

    def forward(self, images):
        output = self.conv(images)
        return output, output
'''

_IMAGENET_STEM = '''
class Stem(nn.Module):
    """Three convolutions of stride 2; the inputs of the first cell are the last two outputs."""

    def __init__(self, in_channels, channels):
        super().__init__()
        self.conv1 = conv_norm(in_channels, channels // 2, 3, stride=2)
        self.conv2 = conv_norm(channels // 2, channels, 3, stride=2)
        self.conv3 = conv_norm(channels, channels, 3, stride=2)

    def forward(self, images):
        quarter = self.conv2(F.relu(self.conv1(images)))
        return quarter, self.conv3(F.relu(quarter))
'''

_POINTWISE = '''
class Pointwise(nn.Module):
    """ReLU, 1 x 1 convolution, norm: fits an input of a cell to its channels."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return self.norm(self.conv(F.relu(x)))
'''

_HALVING = '''
class Halving(nn.Module):
    """ReLU, two 1 x 1 convolutions of stride 2, one of the image shifted by a pixel; norm."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        half = out_channels // 2
        self.conv1 = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.conv2 = nn.Conv2d(in_channels, out_channels - half, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        x = F.relu(x)
        shifted = F.pad(x[:, :, 1:, 1:], (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        return self.norm(torch.cat([self.conv1(x), self.conv2(shifted)], dim=1))
'''

_SEPARABLE = '''
class Separable(nn.Module):
    """ReLU, depthwise convolution, 1 x 1 convolution, norm; once or several times."""

    def __init__(self, channels, kernel, stride, *, dilation, parts):
        super().__init__()
        self.parts = nn.ModuleList()
        for step in [stride] + [1] * (parts - 1):
            padding = dilation * (kernel // 2)
            options = {"padding": padding, "dilation": dilation, "groups": channels}
            part = nn.Module()
            part.depthwise = nn.Conv2d(channels, channels, kernel, step, bias=False, **options)
            part.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
            part.norm = nn.BatchNorm2d(channels)
            self.parts.append(part)

    def forward(self, x):
        for part in self.parts:
            x = part.norm(part.pointwise(part.depthwise(F.relu(x))))
        return x
'''

_MAX_POOL = """
def max_pool(x, stride):
    return F.max_pool2d(x, 3, stride, padding=1)
"""

_AVG_POOL = """
def avg_pool(x, stride):
    return F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)
"""

_NOISE = """
def noise(x, stride):
    strided = x[:, :, ::stride, ::stride]
    return torch.empty_like(strided, memory_format=torch.contiguous_format).normal_()
"""

_FUNCTIONS = {"max_pool_3x3": "max_pool", "avg_pool_3x3": "avg_pool", NOISE: "noise"}


def darts_source(space: DartsFamily, architecture: Architecture, task: TaskShape) -> str:
    """Return the text of the modules of a network, `Network` last."""
    normal, reduce = space.cells(architecture)
    cells, classifier = _cells(space)
    bodies = [
        _cell("NormalCell", normal, reduction=False),
        _cell("ReductionCell", reduce, reduction=True),
    ]
    text = "\n".join([*bodies, _network(space, task, cells, classifier)])
    helpers = {
        "conv_norm(": CONV_NORM,
        "Stem(": _CIFAR_STEM if space.stem == "cifar" else _IMAGENET_STEM,
        "Pointwise(": _POINTWISE,
        "Halving(": _HALVING,
        "Separable(": _SEPARABLE,
        "max_pool(": _MAX_POOL,
        "avg_pool(": _AVG_POOL,
        "noise(": _NOISE,
    }
    return "\n".join([*used(helpers, text), text])


def _cells(space: DartsFamily) -> tuple[list[str], int]:
    """Return the call that makes each cell, and the channels of the last one's output."""
    channels = space.channels
    before = previous = 3 * channels if space.stem == "cifar" else channels
    halved = space.stem == "imagenet"
    calls = []
    for layer in range(space.layers):
        reduction = layer in (space.layers // 3, 2 * space.layers // 3)
        channels *= 2 if reduction else 1
        kind = "ReductionCell" if reduction else "NormalCell"
        fit = "Halving" if halved else "Pointwise"
        calls.append(f"{kind}({fit}({before}, {channels}), {previous}, {channels})")
        before, previous, halved = previous, len(NODES) * channels, reduction
    return calls, previous


def _cell(name: str, nodes: Cell, *, reduction: bool) -> str:
    modules, terms = [], []
    for place, (op, source) in enumerate(pair for node in nodes for pair in node):
        stride = 2 if reduction and source < NUM_INPUTS else 1
        made = _module(op, stride)
        if made is not None:
            modules.append(f'            "{place}": {made},')
        terms.append(_term(op, source, stride, place))
    lines = [
        "",
        f"class {name}(nn.Module):",
        '    """Four nodes, each the sum of two ops; the output is all of them."""',
        "",
        "    def __init__(self, fit, previous_channels, channels):",
        "        super().__init__()",
        "        self.inputs = nn.ModuleList([fit, Pointwise(previous_channels, channels)])",
        "        operations = {",
        *modules,
        "        }",
        "        self.operations = nn.ModuleDict(operations)",
        "",
        "    def forward(self, before, previous):",
        "        op = self.operations",
        "        s0, s1 = self.inputs[0](before), self.inputs[1](previous)",
    ]
    for node in NODES:
        first = 2 * (node - NUM_INPUTS)
        lines.append(f"        s{node} = {terms[first]} + {terms[first + 1]}")
    lines += [f"        return torch.cat([{', '.join(f's{n}' for n in NODES)}], dim=1)", ""]
    return "\n".join(_without_unused(lines, bool(modules)))


def _without_unused(lines: list[str], has_modules: bool) -> list[str]:
    """Leave out the dictionary of modules where no op has weights."""
    if has_modules:
        return lines
    unused = ("operations", "        }")
    return [line for line in lines if not any(word in line for word in unused)]


def _module(op: str, stride: int) -> str | None:
    """Return the call that makes the module of an op; None of one without weights."""
    if op in SEPARABLE:
        kernel, dilation, parts = SEPARABLE[op]
        return f"Separable(channels, {kernel}, {stride}, dilation={dilation}, parts={parts})"
    return "Halving(channels, channels)" if op == "skip_connect" and stride == 2 else None


def _term(op: str, source: int, stride: int, place: int) -> str:
    if op in _FUNCTIONS:
        return f"{_FUNCTIONS[op]}(s{source}, {stride})"
    return f"s{source}" if _module(op, stride) is None else f'op["{place}"](s{source})'


def _network(space: DartsFamily, task: TaskShape, cells: list[str], classifier: int) -> str:
    return "\n".join(
        [
            "",
            "class Network(nn.Module):",
            f'    """Stem, {len(cells)} cells, average over the image, linear classifier."""',
            "",
            "    def __init__(self):",
            "        super().__init__()",
            f"        self.stem = Stem({task.in_channels}, {space.channels})",
            "        cells = [",
            *(f"            {call}," for call in cells),
            "        ]",
            "        self.cells = nn.ModuleList(cells)",
            f"        self.classifier = nn.Linear({classifier}, {task.num_classes})",
            "",
            "    def forward(self, images):",
            "        before, previous = self.stem(images)",
            "        for cell in self.cells:",
            "            before, previous = previous, cell(before, previous)",
            "        return self.classifier(previous.mean(dim=(2, 3)))",
            "",
        ]
    )
