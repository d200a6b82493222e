"""Every record's size and offsets, written out: a change of layout is a decision, never an accident."""

import importlib
import pkgutil

import pytest

import kernmalloc.kernel
import kernmalloc.machine
from kernmalloc.lang.records import Record

LAYOUTS = {
    "kernmalloc.kernel.caches.ObjectType": (
        32,
        "bytes@0 wanted@8 last@16 spare@24"
    ),
    "kernmalloc.kernel.devices.Chunk": (
        32,
        "left@0 right@8 base@16 used@24"
    ),
    "kernmalloc.kernel.frames.Frame": (
        16,
        "type@0 order@1 pins@2 link@4 owner@8"
    ),
    "kernmalloc.kernel.kern.Byte": (
        8,
        "value@0"
    ),
    "kernmalloc.kernel.kern.Cpu": (
        4160,
        "kern@0 id@8 hit@16 run@24 windows@32 open@40 opened@48 spare@56 magazines@64"
    ),
    "kernmalloc.kernel.kern.Half": (
        8,
        "value@0"
    ),
    "kernmalloc.kernel.kern.Index": (
        8,
        "value@0"
    ),
    "kernmalloc.kernel.kern.Kern": (
        4248,
        "arch@0 page_shift@4 slot_shift@8 stage@12 max_pfn@16 base@24 bytes@32 directory@40 tables@48 slots@56 "
        "windows@64 regions@72 region_count@80 boot_region@88 ram@96 ram_last@104 supply@112 frames@120 "
        "free_frames@128 heap_frames@136 mapping_frames@144 page_frames@152 dma_frames@160 device_frames@168 "
        "reserved_frames@176 returned@184 moved@192 stride@200 identity@208 donation_pfn@216 donation_frames@224 "
        "donation_maps@232 donated_heap@240 donated_maps@248 heap@256 heap_pages@264 heap_map@272 top@280 "
        "map_pages@288 backed@296 idle@304 growth@312 bin_bits@320 bins@416 fixed@3488 kept@3496 recycled@3504 "
        "excess@3512 released@3520 spare@3528 growable@3536 affine@3544 promised@3552 lenient@3560 withheld@3568 "
        "opening@3576 opening_heap@3584 device_ranges@3592 device_pages@3600 reserves@3608 device_count@3616 "
        "last_frames@3624 last_ranges@3632 last_maps@3640 caches@3648 cache_count@3656 class_of@3664 ranges@3672 "
        "range_count@3680 range_next@3688 objects@3696 object_count@3704 static@3712 plan@3720 checked@3848"
    ),
    "kernmalloc.kernel.kern.Magazine": (
        32,
        "bits@0 base@8 size@16 slab@20 word@24"
    ),
    "kernmalloc.kernel.kern.Plan": (
        128,
        "status@0 donor@8 donation@16 donation_maps@24 frames@32 tables@40 records@48 regions@56 objects@64 chunks@72 "
        "last_words@80 spare@88 excess@96 padding@104 top@112 scale@120"
    ),
    "kernmalloc.kernel.kern.Tally": (
        400,
        "asserted@0 failed@8 culprit@16 free@24 heap@32 mapping@40 page@48 dma@56 device@64 reserved@72 regions@80 "
        "ram_errors@88 hit@96 windows@104 heap_sum@112 mapped@120 mapped_sum@128 tables@136 table_errors@144 idle@152 "
        "kept@160 backed@168 runs@176 filed@184 bin_errors@192 layout_errors@200 region_free@208 summary_errors@216 "
        "entry_errors@224 order_errors@232 cut_errors@240 live@248 spare@256 used@264 chunk_used@272 device_count@280 "
        "tail_pages@288 page_errors@296 joinable@304 slab_free@312 listed@320 id@328 slabs@336 slab_errors@344 "
        "empty@352 partial@360 claim@368 claim_base@376 claim_size@384 claimed_bits@392"
    ),
    "kernmalloc.kernel.kern.Word": (
        8,
        "bits@0"
    ),
    "kernmalloc.kernel.layout.BootInfo": (
        408,
        "arch@0 page_shift@8 max_pfn@16 window@24 target@32 window_bytes@40 cpu_windows@48 image_pa@56 image_bytes@64 "
        "area_pa@72 info_bytes@80 cpus@88 stride@96 identity@104 growth@112 bound@120 static@128 affine@136 "
        "growable@144 excess@152 spare@160 device_ranges@168 reserves@176 device_pages@184 last_frames@192 "
        "last_ranges@200 last_maps@208 lenient@216 withheld@224 promised@232 ranges@240 range_count@248 objects@256 "
        "object_count@264 cpu@272 kern@280 root@288 directory@296 directories@304 image_tables@312 window_tables@320 "
        "cpu_tables@328 leaf_tables@336 area_bytes@344 tables@352 heap_map@360 heap@368 heap_pages@376 region@384 "
        "slots@392 windows@400"
    ),
    "kernmalloc.kernel.layout.BootRange": (
        32,
        "base@0 count@8 kind@16 spare@24"
    ),
    "kernmalloc.kernel.regions.Region": (
        192,
        "left@0 right@8 base@16 count@24 kind@32 chunk_hint@36 area@40 entries@48 origin@56 word_count@64 words@72 "
        "sums@80 tops@88 full@96 free@104 hint@112 next@120 identities@128 tier@136 under@138 cut@140 attribute@142 "
        "chunks@144 live@152 spare@160 spare_count@168 guaranteed@176 used@184"
    ),
    "kernmalloc.kernel.bins.HeapPage": (
        64,
        "use@0 claim@1 owner@2 cache@3 back@4 free@6 pages@8 size@12 reciprocal@16 slots@20 next@24 prev@28 bits@32"
    ),
    "kernmalloc.kernel.slabs.Cache": (
        64,
        "size@0 reciprocal@4 slots@8 pages@12 partial@16 empty@20 id@24 kept@28 slabs@32 limit@40 wanted@48 object@56"
    ),
    "kernmalloc.kernel.tree.Node": (
        24,
        "left@0 right@8 base@16"
    ),
    "kernmalloc.machine.bare.Byte": (
        8,
        "value@0"
    ),
    "kernmalloc.machine.bare.Cell": (
        8,
        "value@0"
    ),
    "kernmalloc.machine.hosted.Hosted": (
        72,
        "ram@0 fd@8 arch@16 page_shift@24 root@32 window@40 target@48 fresh@56 failed@64"
    ),
    "kernmalloc.machine.mmu.Entry": (
        8,
        "bits@0"
    ),
    "kernmalloc.machine.soft.Soft": (
        8296,
        "ram@0 ram_bytes@8 arch@16 page_shift@24 root@32 window@40 target@48 fresh@56 spare@64 faults@72 fault@80 misses@88 "
        "flushes@96 tlb@104"
    ),
    "kernmalloc.machine.soft.TlbEntry": (
        16,
        "tag@0 delta@8"
    ),
}


def records() -> dict[str, Record]:
    """Every record that kernel and machine declare."""
    found = {}
    for package in (kernmalloc.kernel, kernmalloc.machine):
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            for value in vars(module).values():
                if isinstance(value, Record):
                    found[f"{value.__module__}.{value.name}"] = value
    return found


def test_every_record_is_written_out():
    assert set(records()) == set(LAYOUTS)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_layout(name):
    record = records()[name]
    size, layout = LAYOUTS[name]
    assert record.size == size == record.dtype.itemsize
    assert " ".join(f"{field}@{place.offset}" for field, place in record.fields.items()) == layout
    ends = [place.offset + place.size for place in record.fields.values()]
    assert all(start.offset >= end for start, end in zip(list(record.fields.values())[1:], ends))


def test_a_core_table_entry_has_at_most_16_bytes():
    """E6: our part of it; EROS has 44, Coyotos 60, Linux 64."""
    assert records()["kernmalloc.kernel.frames.Frame"].size <= 16
