"""Pieces of source that the networks of several spaces share."""

CONV_NORM = '''
def conv_norm(in_channels, out_channels, kernel, stride=1):
    """A convolution and a batch norm."""
    layers = nn.Sequential()
    layers.add_module(
        "conv",
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
    )
    layers.add_module("norm", nn.BatchNorm2d(out_channels))
    return layers
'''

REDUCTION = '''
class Reduction(nn.Module):
    """A residual block that halves the image."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv1 = conv_norm(in_channels, out_channels, 3, stride=2)
        self.conv2 = conv_norm(out_channels, out_channels, 3)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x):
        branch = self.conv2(F.relu(self.conv1(F.relu(x))))
        return self.shortcut(F.avg_pool2d(x, 2, ceil_mode=True)) + branch
'''

AVG_POOL = """
def avg_pool(x):
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
"""

MAX_POOL = """
def max_pool(x):
    return F.max_pool2d(x, 3, stride=1, padding=1)
"""


def used(helpers: dict[str, str], text: str) -> list[str]:
    """Return the helpers that `text`, or another helper that it needs, calls; in their order.

    Args:
        helpers: Text of each helper by the start of a call to it, e.g. ``"avg_pool("``.
        text: Source that may call them.
    """
    needed = text
    found: set[str] = set()
    while True:
        new = {call for call in helpers if call in needed and call not in found}
        if not new:
            return [helpers[call] for call in helpers if call in found]
        found |= new
        needed = "\n".join([needed, *(helpers[call] for call in new)])


def staged_network(calls: list[str], stem: str, channels: int, classes: int, what: str) -> str:
    """Return the text of a network: stem, body, norm, average over the image, classifier.

    Args:
        calls: The call that makes each part of the body.
        stem: The call that makes the stem.
        channels: Channels of the last part.
        classes: Number of logits.
        what: The docstring.
    """
    return "\n".join(
        [
            "",
            "class Network(nn.Module):",
            f'    """{what}"""',
            "",
            "    def __init__(self):",
            "        super().__init__()",
            f"        self.stem = {stem}",
            "        body = [",
            *(f"            {call}," for call in calls),
            "        ]",
            "        self.body = nn.Sequential(*body)",
            f"        self.norm = nn.BatchNorm2d({channels})",
            f"        self.classifier = nn.Linear({channels}, {classes})",
            "",
            "    def forward(self, images):",
            "        features = F.relu(self.norm(self.body(self.stem(images))))",
            "        return self.classifier(features.mean(dim=(2, 3)))",
            "",
        ]
    )
