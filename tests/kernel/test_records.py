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
        2944,
        "kern@0 id@8 run@16 depth@24 flags@32 ram@40 stock@48 drawn@56 windows@64 open@72 opened@80 spare@88 frames@128 "
        "magazines@640"
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
        6184,
        "lock@0 waiting@4 arch@64 page_shift@68 slot_shift@72 stage@76 max_pfn@80 base@88 bytes@96 directory@104 "
        "tables@112 slots@120 windows@128 cpus@136 cpu_count@144 hit@152 regions@160 region_count@168 boot_region@176 "
        "ram@184 ram_last@192 supply@200 frames@208 free_frames@216 heap_frames@224 mapping_frames@232 page_frames@240 "
        "dma_frames@248 device_frames@256 reserved_frames@264 stocked@272 returned@280 moved@288 stride@296 "
        "identity@304 donation_pfn@312 donation_frames@320 donation_maps@328 donated_heap@336 donated_maps@344 heap@352 "
        "heap_pages@360 heap_map@368 top@376 map_pages@384 backed@392 idle@400 growth@408 bin_bits@416 bins@512 "
        "fixed@3584 kept@3592 recycled@3600 excess@3608 released@3616 spare@3624 growable@3632 affine@3640 "
        "promised@3648 lenient@3656 withheld@3664 opening@3672 opening_heap@3680 device_ranges@3688 device_pages@3696 "
        "reserves@3704 device_count@3712 last_frames@3720 last_ranges@3728 last_maps@3736 caches@3744 cache_count@3752 "
        "class_of@3760 typed@3768 ranges@5560 range_count@5568 range_next@5576 objects@5584 object_count@5592 "
        "static@5600 plan@5608 checked@5736"
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
        448,
        "asserted@0 failed@8 culprit@16 free@24 heap@32 mapping@40 page@48 dma@56 device@64 reserved@72 regions@80 "
        "ram_errors@88 hit@96 windows@104 last@112 heap_sum@120 unlisted@128 unlisted_sum@136 stocked@144 stock_sum@152 "
        "drawn@160 mapped@168 mapped_sum@176 tables@184 table_errors@192 idle@200 kept@208 backed@216 runs@224 "
        "filed@232 bin_errors@240 layout_errors@248 region_free@256 summary_errors@264 entry_errors@272 "
        "order_errors@280 cut_errors@288 live@296 spare@304 used@312 chunk_used@320 device_count@328 tail_pages@336 "
        "page_errors@344 joinable@352 slab_free@360 listed@368 id@376 slabs@384 slab_errors@392 empty@400 partial@408 "
        "claim@416 claim_base@424 claim_size@432 claimed_bits@440"
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
        "use@0 cache@1 claim@2 back@4 free@6 pages@8 size@12 reciprocal@16 slots@20 next@24 prev@28 bits@32"
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
