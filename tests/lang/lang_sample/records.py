from kernmalloc.lang import i64, record, u8, u16, u32, verifier

FREE, USED = 0, 1
KINDS = 2


@record(size=24)
class Tally:
    """Sums over all nodes."""

    nodes: i64 = "nodes seen"
    free: i64 = "free nodes seen"
    largest: i64 = "largest order seen"


@record(size=32)
class Node:
    """One node of every width."""

    kind: u8 = "FREE or USED"
    order: u8 = "log2 of its size"
    pins: u16 = "users"
    next: u32 = "index of the next node"
    key: i64 = "signed"
    words: i64 * 2 = "two words, inline"
    invariants = (
        "kind < KINDS",
        "pins == 0 or kind != FREE",
        "tally.largest >= order",
        "next < kern.nodes and not (key < 0 and order > (1 << 2) - 1)",
    )


@record(size=48)
class Kern:
    """All state."""

    table: i64 = "address of the first node"
    nodes: i64 = "how many"
    head: u32 = "index of the first node in the list"
    lock: u32 = "spin lock"
    inner: Tally = "a nested record"


@record(size=8)
class Cpu:
    """Where everything starts."""

    kern: i64 = "address of the kernel record"


verify_node = verifier(Node, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)
