"""Every record's size and offsets, written out: a change of layout is a decision, never an accident."""

import importlib
import pkgutil

import pytest

import kernmalloc.kernel
import kernmalloc.machine
from kernmalloc.lang.records import Record

LAYOUTS = {
    "kernmalloc.kernel.bins.HeapPage": (64, "pages@0 next@4 prev@8 use@12 rest@13 more@14 others@16"),
    "kernmalloc.kernel.caches.ObjectType": (32, "bytes@0 wanted@8 last@16 spare@24"),
    "kernmalloc.kernel.depends.Depend": (24, "next@0 umap@8 va@16"),
    "kernmalloc.kernel.devices.Chunk": (32, "left@0 right@8 base@16 used@24"),
    "kernmalloc.kernel.frames.Frame": (16, "type@0 order@1 pins@2 link@4 owner@8"),
    "kernmalloc.kernel.frames.Page": (16, "type@0 order@1 pins@2 link@4 depends@8 state@12 queue@13 uses@14"),
    "kernmalloc.kernel.kern.Byte": (8, "value@0"),
    "kernmalloc.kernel.kern.Cpu": (
        42432,
        "kern@0 id@8 run@16 depth@24 flags@32 low@40 high@48 entries@56 stride@64 drawn@72 windows@80 open@88 "
        "opened@96 thread@104 reserve@112 spare@120 frames@128 frame_groups@144 chunks@1184 chunk_groups@1200 "
        "magazines@1472 stacks@9664",
    ),
    "kernmalloc.kernel.kern.Group": (16, "base@0 bits@8"),
    "kernmalloc.kernel.kern.Half": (8, "value@0"),
    "kernmalloc.kernel.kern.Index": (8, "value@0"),
    "kernmalloc.kernel.kern.Kern": (
        13208,
        "lock@0 waiting@4 arch@64 page_shift@68 slot_shift@72 stage@76 max_pfn@80 base@88 bytes@96 directory@104 "
        "tables@112 slots@120 windows@128 cpus@136 cpu_count@144 hit@152 regions@160 region_count@168 boot_region@176 "
        "ram@184 ram_last@192 supply@200 frames@208 free_frames@216 heap_frames@224 mapping_frames@232 "
        "page_frames@240 dma_frames@248 device_frames@256 reserved_frames@264 stocked@272 returned@280 moved@288 "
        "stride@296 identity@304 donation_pfn@312 donation_frames@320 donation_maps@328 donated_heap@336 "
        "donated_maps@344 heap@352 heap_pages@360 heap_map@368 top@376 map_pages@384 backed@392 idle@400 growth@408 "
        "idle_most@416 bin_bits@424 bins@520 fixed@3592 kept@3600 recycled@3608 excess@3616 released@3624 spare@3632 "
        "growable@3640 affine@3648 wanted@3656 pages@3664 stalls@3888 promised@3984 lenient@3992 withheld@4000 "
        "opening@4008 opening_heap@4016 device_ranges@4024 device_pages@4032 reserves@4040 device_count@4048 "
        "last_frames@4056 last_ranges@4064 last_maps@4072 caches@4080 cache_count@4088 quick@4096 class_of@4104 "
        "common@4112 ranges@12304 range_count@12312 range_next@12320 objects@12328 object_count@12336 static@12344 "
        "plan@12352 checked@12488",
    ),
    "kernmalloc.kernel.kern.Magazine": (
        64,
        "word@0 base@8 size@16 list@20 spares@24 spare@28 keep@32 returned@36 top@40 depth@44 rest@48",
    ),
    "kernmalloc.kernel.kern.Pages": (
        224,
        "heads@0 buckets@8 ghosts@16 ghost_count@24 counts@32 queues@88 umaps@136 tables@144 hits@152 misses@160 "
        "evictions@168 reads@176 writes@184 source@192 asked@200 seen@208 lies@216",
    ),
    "kernmalloc.kernel.kern.Plan": (
        136,
        "status@0 donor@8 donation@16 donation_maps@24 frames@32 tables@40 records@48 regions@56 objects@64 chunks@72 "
        "last_words@80 pages@88 spare@96 excess@104 padding@112 top@120 scale@128",
    ),
    "kernmalloc.kernel.kern.Queue": (24, "first@0 last@8 count@16"),
    "kernmalloc.kernel.kern.Stalls": (
        96,
        "threads@0 count@8 made@16 first@24 last@32 waiting@40 tickets@48 owed@56 short@64 reserve@72 stalled@80 "
        "late@88",
    ),
    "kernmalloc.kernel.kern.Stock": (16, "top@0 last@8"),
    "kernmalloc.kernel.kern.Tally": (
        720,
        "asserted@0 failed@8 culprit@16 free@24 heap@32 mapping@40 page@48 dma@56 device@64 reserved@72 regions@80 "
        "ram_errors@88 hit@96 windows@104 aim_errors@112 stock_errors@120 heap_sum@128 unlisted@136 unlisted_sum@144 "
        "stocked@152 stock_sum@160 drawn@168 mapped@176 mapped_sum@184 tables@192 table_errors@200 idle@208 kept@216 "
        "backed@224 runs@232 filed@240 bin_errors@248 user_tables@256 states@264 cached@320 state_errors@328 "
        "named@336 bucket_errors@344 queued@352 queue_errors@360 depends@368 leaves@376 spaces@384 threads@392 "
        "waiting@400 ticketed@408 owed@416 run_errors@424 wait_errors@432 overdue@440 run_by@448 layout_errors@456 "
        "region_free@464 summary_errors@472 entry_errors@480 order_errors@488 cut_errors@496 live@504 spare@512 "
        "used@520 chunk_used@528 device_count@536 depend_errors@544 umap_pages@552 umap_tables@560 umap_root@568 "
        "umap_errors@576 tail_pages@584 page_errors@592 joinable@600 slab_free@608 stacked@616 slab_errors@624 id@632 "
        "slabs@640 partial@648 empty@656 listed@664 spares@672 returned@680 pointed@688 stack_errors@696 "
        "magazine_size@704 magazine_spare@712",
    ),
    "kernmalloc.kernel.kern.Word": (8, "bits@0"),
    "kernmalloc.kernel.layout.BootInfo": (
        424,
        "arch@0 page_shift@8 max_pfn@16 window@24 target@32 window_bytes@40 cpu_windows@48 image_pa@56 image_bytes@64 "
        "area_pa@72 info_bytes@80 cpus@88 stride@96 identity@104 growth@112 idle_most@120 bound@128 static@136 "
        "affine@144 growable@152 excess@160 spare@168 device_ranges@176 reserves@184 device_pages@192 last_frames@200 "
        "last_ranges@208 last_maps@216 lenient@224 withheld@232 promised@240 cleaner_frames@248 ranges@256 "
        "range_count@264 objects@272 object_count@280 cpu@288 kern@296 root@304 directory@312 directories@320 "
        "image_tables@328 window_tables@336 cpu_tables@344 leaf_tables@352 area_bytes@360 tables@368 heap_map@376 "
        "heap@384 heap_pages@392 region@400 slots@408 windows@416",
    ),
    "kernmalloc.kernel.layout.BootRange": (32, "base@0 count@8 kind@16 spare@24"),
    "kernmalloc.kernel.pages.Identity": (16, "oid@0 next@8 prev@12"),
    "kernmalloc.kernel.regions.Region": (
        192,
        "left@0 right@8 base@16 count@24 kind@32 chunk_hint@36 area@40 entries@48 origin@56 word_count@64 words@72 "
        "sums@80 tops@88 full@96 free@104 hint@112 next@120 identities@128 tier@136 under@138 cut@140 attribute@142 "
        "chunks@144 live@152 spare@160 spare_count@168 guaranteed@176 used@184",
    ),
    "kernmalloc.kernel.slabs.Cache": (
        64,
        "size@0 reciprocal@4 slots@8 pages@12 keep@16 depth@20 common@24 spare@25 id@26 kept@28 slabs@32 limit@40 "
        "wanted@48 object@56",
    ),
    "kernmalloc.kernel.source.Answer": (16, "frame@0 status@8"),
    "kernmalloc.kernel.source.Request": (16, "oid@0 frame@8"),
    "kernmalloc.kernel.source.Ring": (64, "asked@0 answered@4 spare@8"),
    "kernmalloc.kernel.threads.Thread": (
        80,
        "next@0 prev@8 after@16 before@24 number@32 ticket@40 need@48 owed@56 until@64 state@72 cleaner@73 "
        "processor@74 spare@76",
    ),
    "kernmalloc.kernel.tree.Node": (24, "left@0 right@8 base@16"),
    "kernmalloc.kernel.umap.Umap": (48, "root@0 next@8 prev@16 pages@24 tables@32 root_pa@40"),
    "kernmalloc.machine.bare.Byte": (8, "value@0"),
    "kernmalloc.machine.bare.Cell": (8, "value@0"),
    "kernmalloc.machine.hosted.Hosted": (
        96,
        "ram@0 fd@8 arch@16 page_shift@24 root@32 window@40 target@48 fresh@56 users@64 processors@72 mapped@80 "
        "failed@88",
    ),
    "kernmalloc.machine.mmu.Entry": (8, "bits@0"),
    "kernmalloc.machine.soft.Soft": (
        8312,
        "ram@0 ram_bytes@8 arch@16 page_shift@24 root@32 window@40 target@48 fresh@56 users@64 processors@72 spare@80 "
        "faults@88 fault@96 misses@104 flushes@112 tlb@120",
    ),
    "kernmalloc.machine.soft.TlbEntry": (16, "tag@0 delta@8"),
    "kernmalloc.machine.users.Translation": (32, "root@0 va@8 pa@16 write@24"),
    "kernmalloc.kernel.kern.Stacked": (16, "va@0 bit@8"),
    "kernmalloc.kernel.slabs.SlabPage": (
        64,
        "pages@0 next@4 prev@8 use@12 cache@13 owner@14 back@16 slots@18 free@19 start@20 reciprocal@24 waiting@28 "
        "bits@32",
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
