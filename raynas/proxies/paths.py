"""Paths from the images to the logits in autograd's graph.

The graph is what was really computed, whatever modules, functions or tensor methods computed it.
"""

from collections.abc import Collection

from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge


def between(images: Tensor, logits: Tensor) -> set[Node]:
    """Return the nodes on a path from the images to the logits; empty if none leads."""
    if not logits.requires_grad:
        return set()
    root = get_gradient_edge(logits).node
    users: dict[Node, list[Node]] = {root: []}
    stack = [root]
    while stack:
        user = stack.pop()
        for node, _ in user.next_functions:
            if node is None:
                continue
            if node not in users:
                users[node] = []
                stack.append(node)
            users[node].append(user)
    leaf = get_gradient_edge(images).node
    found = {leaf} if leaf in users else set()
    stack = list(found)
    while stack:
        new = [user for user in users[stack.pop()] if user not in found]
        found.update(new)
        stack.extend(new)
    return found


def longest(logits: Tensor, on_path: Collection[Node], counted: Collection[Node]) -> int:
    """Return the most nodes of `counted` that one path from the images to the logits meets.

    Args:
        logits: Where paths end.
        on_path: See `between`; not empty.
        counted: Nodes that add one to the length; all others add nothing.
    """
    root = get_gradient_edge(logits).node
    lengths: dict[Node, int] = {}
    stack = [root]
    while stack:  # not recursive: a network may be thousands of nodes deep
        node = stack[-1]
        sources = [source for source, _ in node.next_functions if source and source in on_path]
        waiting = [source for source in sources if source not in lengths]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        lengths[node] = (node in counted) + max((lengths[s] for s in sources), default=0)
    return lengths[root]
