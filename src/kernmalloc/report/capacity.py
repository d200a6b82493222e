"""The capacity table (E40) as text."""

from collections.abc import Iterable, Iterator

from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.sizes import size
from kernmalloc.plan.capacity import Capacity, nodes_alone, nodes_in_page
from kernmalloc.report.text import columns, paragraph

NODE = 556  # CapROS: sizeof(Node)


def table(found: Iterable[tuple[Profile, Capacity]]) -> Iterator[str]:
    """What the note reckons with, and what each kernel carries."""
    each = nodes_in_page(NODE)
    yield from paragraph(
        f"Nodes alone: one node of {NODE} bytes per page of RAM, {each} in a page of heap: RAM is "
        f"{nodes_alone(each):.1f} times the kernel's address space."
    )
    rows = [("kernel", "window", "heap", "RAM in full", "times", "per page", "RAM at all", "")]
    for profile, c in found:
        limit = "all that its physical addresses reach" if c.full + (64 << 20) > 1 << profile.phys_bits else ""
        per_page = f"{c.heap * profile.page / c.full:,.0f} B" if c.full else ""
        rows.append(
            (c.kernel, size(c.window), size(c.heap), size(c.full), f"{c.times:.1f}", per_page, size(c.least), limit)
        )
    yield from columns(rows, notes=True)
    yield from paragraph(
        "In full: with every object that the profile's ratios ask for, depend entries among them, and with an entry, a "
        "bit and, where there is a page cache, an identity for every page. At all: with at least one of each."
    )
