"""Doubly linked lists: each kind of link against a Python list, after every step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flat_memory import FlatMemory
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.kernel.core.kern import Cpu, Index, Kern
from kernmalloc.kernel.frames.claims import Stalls, Thread, wait_link, wait_unlink
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.frames.table import Page
from kernmalloc.kernel.heap.bins import HeapPage, bin_link, bin_unlink
from kernmalloc.kernel.heap.partial import magazine_link, magazine_unlink
from kernmalloc.kernel.heap.slabs import Magazine, SlabPage
from kernmalloc.kernel.pages.pages import Identity, Pages, Queue, queue_link, queue_unlink
from kernmalloc.kernel.pages.umap import Umap, umap_link, umap_unlink
from kernmalloc.kernel.stalls import thread_link, thread_unlink
from kernmalloc.lang import twin

RECORDS = 8
BASE = 100  # the first frame of the region


@dataclass
class Linked:
    """A list in the kernel's memory: `RECORDS` links that may go into it, and how each of its links is read."""

    links: list[Any]
    link: Callable[..., int]
    unlink: Callable[..., int]
    first: Callable[[], Any]
    next: Callable[[Any], Any]
    prev: Callable[[Any], Any]
    last: Callable[[], Any] | None = None


def of_bin(memory: FlatMemory) -> Linked:
    kern, bin = Kern(memory.new(Kern.size)), Index(memory.new(Index.size))
    base = memory.new(RECORDS * HeapPage.size)
    kern.heap_map, kern.record_shift = HeapPage(base), HeapPage.shift
    return Linked(
        list(range(1, RECORDS + 1)),
        lambda one, ahead: bin_link(kern, bin, one, ahead),
        lambda one: bin_unlink(kern, bin, one),
        lambda: bin.value,
        lambda one: HeapPage(base + (one - 1) * HeapPage.size).next,
        lambda one: HeapPage(base + (one - 1) * HeapPage.size).prev,
    )


def of_magazine(memory: FlatMemory) -> Linked:
    kern, magazine = Kern(memory.new(Kern.size)), Magazine(memory.new(Magazine.size))
    base = memory.new(RECORDS * HeapPage.size)
    kern.heap_map, kern.record_shift = HeapPage(base), HeapPage.shift
    return Linked(
        list(range(1, RECORDS + 1)),
        lambda one, ahead: magazine_link(kern, magazine, one, ahead),
        lambda one: magazine_unlink(kern, magazine, one),
        lambda: magazine.list,
        lambda one: SlabPage(base + (one - 1) * SlabPage.size).next,
        lambda one: SlabPage(base + (one - 1) * SlabPage.size).prev,
    )


def of_pages(memory: FlatMemory) -> Linked:
    kern, cpu = Kern(memory.new(Kern.size)), Cpu(memory.new(Cpu.size))
    region, queue = Region(memory.new(Region.size)), Queue(memory.new(Queue.size))
    cpu.kern, kern.hit, kern.stride, kern.identity = kern, region, Page.size, Identity.size
    region.base, region.count = BASE, RECORDS
    region.entries = entries = memory.new(RECORDS * Page.size)
    region.identities = identities = memory.new(RECORDS * Identity.size)
    return Linked(
        list(range(BASE + 1, BASE + RECORDS + 1)),
        lambda one, ahead: queue_link(cpu, queue, one, ahead),
        lambda one: queue_unlink(cpu, queue, one),
        lambda: queue.first,
        lambda one: Page(entries + (one - 1 - BASE) * Page.size).link,
        lambda one: Identity(identities + (one - 1 - BASE) * Identity.size).prev,
        lambda: queue.last,
    )


def of_waiting(memory: FlatMemory) -> Linked:
    stalls = Stalls(memory.new(Stalls.size))
    return Linked(
        [Thread(memory.new(Thread.size)) for _ in range(RECORDS)],
        lambda one, ahead: wait_link(stalls, one, Thread(0) if ahead == 0 else ahead),
        lambda one: wait_unlink(stalls, one),
        lambda: stalls.first,
        lambda one: one.next,
        lambda one: one.prev,
        lambda: stalls.last,
    )


def of_threads(memory: FlatMemory) -> Linked:
    stalls = Stalls(memory.new(Stalls.size))
    return Linked(
        [Thread(memory.new(Thread.size)) for _ in range(RECORDS)],
        lambda one, ahead: thread_link(stalls, one, Thread(0) if ahead == 0 else ahead),
        lambda one: thread_unlink(stalls, one),
        lambda: stalls.threads,
        lambda one: one.after,
        lambda one: one.before,
    )


def of_umaps(memory: FlatMemory) -> Linked:
    pages = Pages(memory.new(Pages.size))
    return Linked(
        [Umap(memory.new(Umap.size)) for _ in range(RECORDS)],
        lambda one, ahead: umap_link(pages, one, Umap(0) if ahead == 0 else ahead),
        lambda one: umap_unlink(pages, one),
        lambda: pages.umaps,
        lambda one: one.next,
        lambda one: one.prev,
    )


def check(linked: Linked, wanted: list[Any]) -> None:
    """The list holds `wanted`, in this order; whoever is in it lies between its neighbours, and nobody else has any."""
    held, at = [], linked.first()
    while at != 0 and len(held) <= RECORDS:
        held.append(at)
        at = linked.next(at)
    assert held == wanted
    for ahead, one in zip([0, *wanted], wanted, strict=False):
        assert linked.prev(one) == ahead
    if linked.last is not None:
        assert linked.last() == (wanted[-1] if wanted else 0)
    for one in linked.links:
        if one not in wanted:
            assert linked.next(one) == 0 and linked.prev(one) == 0


@pytest.mark.parametrize("kind", [of_bin, of_magazine, of_pages, of_waiting, of_threads, of_umaps])
@given(steps=st.lists(st.tuples(st.integers(0, RECORDS - 1), st.integers(0, RECORDS)), max_size=40))
def test_a_list_is_as_a_python_list(kind: Callable[[FlatMemory], Linked], steps: list[tuple[int, int]]) -> None:
    """A record that is in the list is taken out, another one is put in behind any of them, or at the front."""
    memory = FlatMemory(1 << 21)
    twin.use(memory)
    linked, wanted = kind(memory), list[Any]()
    for number, place in steps:
        one = linked.links[number]
        if one in wanted:
            linked.unlink(one)
            wanted.remove(one)
        else:
            place = min(place, len(wanted))
            linked.link(one, wanted[place - 1] if place else 0)
            wanted.insert(place, one)
        check(linked, wanted)
