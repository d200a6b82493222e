"""The bootstrap in words: what each step did to resolve the chicken and egg, and why it failed."""

from kernmalloc.facade.handle import Handle
from kernmalloc.inputs.sizes import size
from kernmalloc.kernel.boot.config import BootRange
from kernmalloc.kernel.core import kern as k
from kernmalloc.lang import status

NAMES = ("donate", "table", "mark", "list", "rest", "objects")


def _frames(count: int) -> str:
    return f"{count:,} frame{'s' if count != 1 else ''}"


def _regions(count: int) -> str:
    return f"{count:,} region{'s are' if count != 1 else ' is'}"


def told(handle: Handle, stage: int) -> tuple[str, str, dict[str, int]]:
    """(name, what it did, state of the donated frames) of the step just done."""
    kern, page = handle.view.kern, handle.profile.page
    top = handle.view.read(BootRange, int(kern["ranges"] + kern["plan"]["donor"] * BootRange.size))[0]
    first, frames = int(kern["donation_pfn"]), int(kern["donation_frames"])
    where = f"{first * page:#x}-{(first + frames) * page - 1:#x}"
    marked = stage >= k.MARK
    state = {
        "donated": frames,
        "used by the heap": int(kern["donated_heap"]),
        "used by mapping tables": int(kern["donated_maps"]),
        "marked heap": int(kern["heap_frames"]) if stage == k.MARK else int(kern["donated_heap"]) * marked,
        "marked mapping": int(kern["mapping_frames"]) if stage == k.MARK else int(kern["donated_maps"]) * marked,
        "free": int(kern["free_frames"]) if stage >= k.LIST else 0,
    }
    if handle.profile.heapless:
        text = _carved(handle, stage, where, frames)
    elif stage == k.DONATE:
        text = (
            f"the highest range that can hold its own core table starts at {int(top['base']) * page:#x} and has "
            f"{_frames(int(top['count']))}; that table costs {_frames(frames)}: {where} is donated to the heap"
        )
    elif stage == k.TABLE:
        text = (
            f"the table is malloc'd; the heap took {_frames(state['used by the heap'])} of the donation, "
            f"its mapping tables {state['used by mapping tables']:,}"
        )
    elif stage == k.MARK:
        text = (
            f"the entries of {where} are marked by hand: {state['marked heap']:,} heap, "
            f"{state['marked mapping']:,} mapping"
        )
    elif stage == k.LIST:
        text = (
            f"the remaining {_frames(state['free'])} go to the free list; "
            "from now on malloc finds frames through the core table"
        )
    elif stage == k.REST:
        text = (
            f"{_regions(int(kern['region_count']))} described, {_frames(int(kern['frames']))} of RAM; "
            f"the heap has {size(int(kern['backed']) * page)}; no donation was needed"
        )
    else:
        share = int(kern["plan"]["scale"]) * 100 / 65536
        text = f"typed caches are made, {share:.1f} % of the objects that the ratios ask for"
    return NAMES[stage], text, state


def _carved(handle: Handle, stage: int, where: str, frames: int) -> str:
    """What a step did where there is no heap."""
    kern = handle.view.kern
    if stage == k.DONATE:
        return f"the core tables of all RAM cost {_frames(frames)}: {where} is carved out for them"
    if stage == k.TABLE:
        return f"the highest range is described in {_frames(int(kern['donated_heap']))} of these"
    if stage == k.MARK:
        return f"the entries of {where} are marked by hand: {int(kern['reserved_frames']):,} reserved"
    if stage == k.LIST:
        return f"the remaining {_frames(int(kern['free_frames']))} go to the free list"
    if stage == k.REST:
        regions, described = int(kern["region_count"]), int(kern["frames"])
        return f"{_regions(regions)} described, {_frames(described)} of RAM"
    return "there is no heap, and nothing to be made in it"


def refusal(handle: Handle, stage: int, code: int) -> str:
    """Why this machine and this kernel do not go together, in figures, on one line."""
    kern = handle.view.kern
    profile, page = handle.profile, handle.profile.page
    ram = handle.loaded.placement
    frames = sum(high - low for low, high in ram.ram)
    need = sum(handle.call_kern("table_bytes", low, high - low) for low, high in ram.ram)
    bound = int(kern["heap_pages"]) * page
    plan, per = kern["plan"], profile.core.stride + profile.core.identity
    tables = (
        f"core tables for {size(frames * page)} of RAM take {size(need)} ({per} bytes per frame and the bitmaps), "
        f"the heap's bound is {size(bound)}"
    )
    if code == status.NO_VA and plan["scale"] < 0:
        taken = int(
            plan["tables"] + plan["regions"] + plan["chunks"] + plan["last_words"] + kern["headroom"] + kern["excess"]
        )
        left, half = bound - taken * page, (int(plan["frames"]) - taken) // 2 * page
        if int(kern["static"]) and half < left:
            return f"half of the free frames, {size(max(half, 0))}, hold less than one slab of each object type"
        return f"{tables}: with its reserves {size(max(left, 0))} is left, less than one slab of each object type"
    if code == status.NO_VA:
        return tables
    if code == status.TOO_SMALL and int(kern["affine"]):
        block = int(plan["donation"])
        largest = max((high - low for low, high in ram.ram), default=0)
        return (
            f"an affine heap of {size(int(plan['top']) * page)} needs {_frames(block)} in one piece, "
            f"at a large page's boundary; the largest of {len(ram.ram)} ranges of RAM has {_frames(largest)}"
        )
    if code == status.TOO_SMALL:
        return f"none of the {len(ram.ram)} ranges of RAM, {size(frames * page)} in all, can hold its own core table"
    if code == status.NO_FRAMES:
        return f"free: {_frames(int(kern['free_frames']))}, too few to describe the rest of {_frames(frames)} of RAM"
    return f"the bootstrap stopped in stage {NAMES[stage]}: {status.MEANINGS[code]} ({status.NAMES[code]})"
