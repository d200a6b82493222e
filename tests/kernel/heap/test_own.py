"""What the kernel allocated for itself has an owner: callers cannot free it, take it or ask its size."""

import random
from collections.abc import Iterator

import pytest
from effort import EFFORT
from small_machines import MIB, MODES, conserved, machine, slots_of

from kernmalloc.facade.errors import BadAddress
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import OWN_CACHES, SIZE_CLASSES
from kernmalloc.kernel.heap.bins import LARGE, OWN, SLAB
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang import failed
from kernmalloc.lang.status import BAD_ADDRESS, BAD_CACHE, INTERIOR, NOT_ALLOCATED, NOT_YOURS, OK

DEVICE = 0xE0000
PAGE = 4096
OWN_IDS = range(SIZE_CLASSES, SIZE_CLASSES + OWN_CACHES)


@pytest.fixture(params=["eros2", "x86_64"])
def kernel(request) -> Iterator[Kernel]:
    """A kernel that has something of all that a kernel allocates for itself, and blocks of callers in between."""
    with Kernel.boot(machine((0, 16 * MIB), (20 * MIB, 4 * MIB)), Profile.load(request.param), "soft", cpus=2) as made:
        made.devices.publish(DEVICE * PAGE, 64 * PAGE)
        made.devices.get(DEVICE + 3)
        made.thread()
        made.call("source_open")
        made.pages.space()
        yield made
        found = made.check()
        assert found.passed, found.failure


def own(kernel: Kernel) -> dict[str, int]:
    """What leads from the kernel's records to its own memory: an address of each kind, at least."""
    view, kern = kernel.view, kernel.view.kern
    found = {f"core table of {r['base']:#x}": int(r["area"]) for r in view.regions() if r["area"]}
    found |= {f"region {r['base']:#x}": int(r["left"]) for r in view.regions() if r["left"]}
    found |= {f"region above {r['base']:#x}": int(r["right"]) for r in view.regions() if r["right"]}
    found |= {f"chunk of {r['base']:#x}": int(r["chunks"]) for r in view.regions() if r["chunks"]}
    umap = int(kern["pages"]["umaps"])
    return found | {
        "hash of the page cache": int(kern["pages"]["heads"]),
        "ring": int(kern["pages"]["source"]),
        "address space": umap,
        "root table": int(view.read(Umap, umap)[0]["root"]),
        "thread": int(kern["stalls"]["threads"]),
    }


def attack(kernel: Kernel, va: int) -> set[int]:
    """What is answered to whoever tries to get at an address: in every way, on both processors."""
    ids = range(SIZE_CLASSES - 1, int(kernel.view.kern["cache_count"]) + 1)
    answers = set()
    for cpu in (kernel, kernel.cpu(1)):
        answers |= {cpu.call("free", va), cpu.call("size_of", va)} | {cpu.call("cache_put", id, va) for id in ids}
    return answers


def test_what_the_kernel_holds_is_its_own(kernel):
    """Core tables, region records, chunks, the hash, the ring, address spaces and their tables, threads: each attack is
    refused, and no byte changes."""
    before, heap = kernel.snapshot(), int(kernel.view.kern["heap"])
    found = {name: va for name, va in own(kernel).items() if va >= heap}
    assert len(found) >= 8, found
    for name, va in found.items():
        assert kernel.call("free", va) == kernel.call("size_of", va) == NOT_YOURS, name
        for at in (va, va + 16, va + PAGE):
            assert attack(kernel, at) <= {NOT_YOURS, BAD_ADDRESS, BAD_CACHE, NOT_ALLOCATED, INTERIOR}, name
    assert kernel.snapshot() == before


def test_every_page_and_slot_is_a_callers_or_refused(kernel):
    """Of all that the heap map shows in use, what is no caller's is refused at every page and slot of it."""
    blocks = {kernel.malloc(size) for size in (16, 100, 5000, 40_000, 100_000)}
    kern, pages = kernel.view.kern, kernel.view.heap_pages()
    before, heap, at, seen = kernel.snapshot(), int(kern["heap"]), 0, {OWN: 0, SLAB: 0, LARGE: 0}
    while at < len(pages):
        use, count = int(pages["use"][at]), int(pages["pages"][at])
        if use == OWN:
            inside = [at, at + count - 1, *(random.Random(at).randrange(at, at + count) for _ in range(5))]
            addresses = [heap + page * PAGE + offset for page in inside for offset in (0, 16, 4080)]
        elif use == SLAB and int(pages["cache"][at]) in OWN_IDS:
            addresses = [va for page in range(at, at + count) for va in slots_of(kernel, page)]
        else:
            addresses = []
        for va in addresses:
            assert kernel.call("free", va) == kernel.call("size_of", va) == NOT_YOURS
        seen[use] = seen.get(use, 0) + (len(addresses) or use == LARGE)
        at += count
    assert seen[OWN] > 20 and seen[SLAB] > 20 and seen[LARGE] == sum(size > 32768 for size in (40_000, 100_000))
    assert kernel.snapshot() == before
    for va in blocks:
        kernel.free(va)


@pytest.mark.parametrize("seed", range(2 * EFFORT))
def test_no_address_but_a_callers_is_freed(kernel, seed):
    """Any multiple of 16 in the heap, whoever asks and how: OK is said of callers' blocks and objects only, once."""
    rng, kern = random.Random(seed), kernel.view.kern
    cache = kernel.cache("port", 200, 40)
    mine = {kernel.malloc(rng.choice((20, 300, 2000, 9000, 70_000))): "free" for _ in range(40)}
    mine |= {cache.get(): "cache_put" for _ in range(20)}
    top = int(kern["top"]) * PAGE
    for _ in range(4000):
        va = rng.choice((*mine, 0)) if mine and rng.random() < 0.01 else 0
        va = va or int(kern["heap"]) + rng.randrange(0, top, 16)
        call = rng.choice((("free", va), ("cache_put", cache.id, va), ("cache_put", rng.choice(OWN_IDS), va)))
        answer = kernel.cpu(rng.randrange(2)).call(*call)
        if answer == OK:
            assert mine.pop(va) == call[0] or call[0] == "free", call
        assert answer == OK or failed(answer)
    assert kernel.check().passed
    for va in mine:
        kernel.free(va)


@pytest.mark.parametrize("id", OWN_IDS)
def test_the_kernels_own_caches_give_nothing_out(kernel, id):
    before = kernel.snapshot()
    assert [kernel.cpu(number).call("cache_get", id) for number in (0, 1)] == [NOT_YOURS] * 2
    assert kernel.snapshot() == before


@pytest.mark.parametrize("mode", MODES)
def test_the_python_api_says_whose_it_is(mode):
    with Kernel.boot(machine((0, 4 * MIB)), Profile.load("eros2"), mode) as kernel:
        regions = kernel.cache("region")
        with pytest.raises(BadAddress, match=r"region.get\(\).*the kernel's own.*NOT_YOURS"):
            regions.get()
        table = next(region.area for region in kernel.regions if region.area)
        with pytest.raises(BadAddress, match="the kernel's own"):
            kernel.free(table)
        with pytest.raises(BadAddress, match="the kernel's own"):
            kernel.size_of(table)
        assert kernel.regions and kernel.malloc(100_000) != table
        conserved(kernel)


def test_after_the_attack_the_kernel_works_on(kernel):
    """What is the kernel's own goes back by its own calls: the ring is closed, the space is freed."""
    umap = int(kernel.view.kern["pages"]["umaps"])
    assert kernel.call("source_close") == OK and kernel.call("umap_free", umap) == OK
    assert kernel.call("device_put", DEVICE + 3) == OK
    kernel.devices.withdraw(DEVICE * PAGE)
