"""The search tree against a sorted list, its shape, and how deep it is (Seidel and Aragon, 1996)."""

import random
from bisect import bisect_right

import pytest
from flat_memory import FlatMemory
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.kernel.core.tree import Link, Node, tree_above, tree_add, tree_floor, tree_remove
from kernmalloc.lang import twin

KEYS = 40


class Tree:
    """A tree in the kernel's memory, and what is in it: node by base."""

    def __init__(self, memory: FlatMemory) -> None:
        twin.use(memory)
        self.memory, self.root = memory, Link(memory.new(Link.size))
        self.nodes: dict[int, Node] = {}

    def add(self, base: int) -> None:
        node = Node(self.memory.new(Node.size))
        node.base = base
        node.left.node = node.right.node = Node(4096)  # whatever stood there before
        tree_add(self.root, node)
        self.nodes[base] = node

    def remove(self, base: int) -> None:
        tree_remove(self.root, self.nodes.pop(base))

    def bases(self) -> list[int]:
        """The bases in the order of the tree, whose links lead to each node once."""
        found: list[int] = []
        left: list[Node] = []
        at = self.root.node
        while at != 0 or left:
            while at != 0:
                left.append(at)
                at = at.left.node
            at = left.pop()
            found.append(at.base)
            assert len(found) <= len(self.nodes)
            at = at.right.node
        return found

    def depth(self) -> int:
        deepest, level = 0, [self.root.node]
        while level := [node for node in level if node != 0]:
            deepest += 1
            level = [side.node for node in level for side in (node.left, node.right)]
        return deepest

    def links(self) -> list[tuple[int, int, int]]:
        """What each node's links say, by base."""
        return [(base, node.left.node.addr, node.right.node.addr) for base, node in sorted(self.nodes.items())]


@given(st.lists(st.integers(0, KEYS - 1), max_size=60))
def test_it_agrees_with_a_sorted_list(steps: list[int]) -> None:
    """A base comes and goes in turns; floor and above are those of the list, for every key."""
    tree = Tree(FlatMemory(1 << 16))
    for base in steps:
        if base in tree.nodes:
            tree.remove(base)
        else:
            tree.add(base)
        bases = sorted(tree.nodes)
        assert tree.bases() == bases
        for key in (0, base - 1, base, base + 1, KEYS):
            at = bisect_right(bases, key)
            assert tree_floor(tree.root, key) == (tree.nodes[bases[at - 1]] if at else 0)
            assert tree_above(tree.root, key) == (tree.nodes[bases[at]] if at < len(bases) else 0)


@given(st.permutations(range(12)), st.permutations(range(12)))
def test_its_shape_does_not_depend_on_the_order(first: list[int], second: list[int]) -> None:
    """A treap is one tree for a set of bases: whatever was added and removed on the way to it."""
    shapes = []
    for order in (first, second):
        tree = Tree(FlatMemory(1 << 16))
        for base in order:
            tree.add(base << 12)
        for base in order[:4]:
            tree.remove(base << 12)
        for base in order[:4]:
            tree.add(base << 12)
        where = {node.addr: base for base, node in tree.nodes.items()}
        shapes.append([(base, where.get(left), where.get(right)) for base, left, right in tree.links()])
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("stride", [1, 32, 1 << 18, (1 << 20) + 4096])
@pytest.mark.parametrize("order", ["rising", "falling", "shuffled"])
def test_it_is_never_deep(stride: int, order: str) -> None:
    """1,000 bases at any stride, in any order: at most three times as deep as a perfect tree."""
    tree = Tree(FlatMemory(1 << 18))
    bases = [i * stride for i in range(1000)]
    if order == "shuffled":
        random.Random(stride).shuffle(bases)
    for base in bases if order == "rising" else reversed(bases):
        tree.add(base)
    assert tree.depth() <= 30
    for base in bases[::2]:
        tree.remove(base)
    assert tree.depth() <= 30 and tree.bases() == sorted(tree.nodes)
