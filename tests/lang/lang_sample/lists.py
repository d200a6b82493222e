from kernmalloc.lang import add32, add64, cas32, entry, kernel, load_acquire32, pause, primitive, store_release32
from lang_sample.records import FREE, USED, Cpu, Kern, Node, Tally

NODE = Node.size
LOCK = Kern.offset("lock")
fill = primitive("km_fill", 3, "set n bytes at an address to a value")


@kernel
def node_at(kern, i):
    return Kern(kern).table + i * NODE


@entry
def push(cpu, i):
    """Put node i at the head of the list: its index, or -1 if there is none or it is there already."""
    kern = Cpu(cpu).kern
    k = Kern(kern)
    if i < 0 or i >= k.nodes:
        return -1
    n = Node(node_at(kern, i))
    if n.kind == USED:
        return -1
    n.kind = USED
    n.pins += 1
    n.next = k.head
    n.key -= i
    k.head = i
    t = Tally(k.inner)
    t.nodes += 1
    return i


@entry
def pop(cpu):
    kern = Cpu(cpu).kern
    k = Kern(kern)
    i = k.head
    n = Node(node_at(kern, i))
    if n.kind == FREE:
        return -1
    k.head = n.next
    n.kind = FREE
    n.pins = n.pins - 1
    Tally(k.inner).nodes -= 1
    return i


@kernel
def listed(cpu):
    """Length of the list. Node 0 ends it."""
    kern = Cpu(cpu).kern
    n = 0
    i = Kern(kern).head
    while i != 0:
        n += 1
        i = Node(node_at(kern, i)).next
    return n


@entry
def length(cpu):
    return listed(cpu)


@entry
def wipe(cpu, i, value):
    """The machine fills a node's words."""
    return fill(Node(node_at(Cpu(cpu).kern, i)).words, value, 16)


@entry
def scribble(cpu, i, value):
    """Every width takes the low bits of value."""
    n = Node(node_at(Cpu(cpu).kern, i))
    n.kind = value
    n.order = value < 0
    n.pins = value
    n.next = value
    n.key = value
    return n.kind + n.pins + n.next


@entry
def checked(cpu, i):
    """What the verifier of records says of node i, told that no order is above 9."""
    k = Kern(Cpu(cpu).kern)
    Tally(k.inner).largest = 9
    return verify(cpu, node_at(Cpu(cpu).kern, i), k.inner)


@entry
def locked_add(cpu, rounds):
    """Add 1 to two counters under the lock and 2 to a third by an atomic."""
    kern = Cpu(cpu).kern
    lock = kern + LOCK
    for i in range(rounds):
        while cas32(lock, 0, 1) == 0:
            while load_acquire32(lock) != 0:
                pause()
        t = Tally(Kern(kern).inner)
        t.nodes += 1
        t.free += 1
        store_release32(lock, 0)
        add64(Kern(kern).inner + 16, 2)
    return add32(lock, 0)


from lang_sample.records import verify_node as verify  # noqa: E402 a kernel function may be defined after its callers
