"""Every record's size and offsets, written out: a change of layout is a decision, never an accident."""

import importlib
import pkgutil
from itertools import pairwise

import pytest

import kernmalloc.kernel
import kernmalloc.machine
from kernmalloc.lang.records import Record, RecordType

LAYOUTS = {
    "kernmalloc.kernel.boot.arena.Chain": (16, "next@0 end@8"),
    "kernmalloc.kernel.boot.added.Adding": (
        104,
        "base@0 count@8 kept@16 top@24 left@32 pages@40 parts@48 cost@56 host@64 hosted@72 low@80 high@88 end@96",
    ),
    "kernmalloc.kernel.boot.config.BootRange": (24, "base@0 count@8 kind@16"),
    "kernmalloc.kernel.boot.config.Config": (
        784,
        "version@0 bytes@4 mode@8 arch@16 page_shift@24 max_pfn@32 window@40 target@48 window_bytes@56 "
        "cpu_windows@64 upper@72 no_execute@80 direct@88 direct_bytes@96 image_pa@104 image_bytes@112 "
        "area_pa@120 area_room@128 cpus@136 stride@144 identity@152 no_pages@160 growth@168 idle_most@176 "
        "bound@184 static@192 affine@200 growable@208 excess@216 headroom@224 device_ranges@232 reserves@240 "
        "device_pages@248 last_frames@256 last_ranges@264 last_maps@272 lenient@280 withheld@288 promised@296 "
        "cleaner_frames@304 ranges@312 range_count@320 objects@328 object_count@336 info_bytes@344 cpu@352 "
        "kern@360 root@368 directory@376 directories@384 image_tables@392 window_tables@400 cpu_tables@408 "
        "leaf_tables@416 area_bytes@424 tables@432 heap_map@440 heap@448 heap_pages@456 region@464 spans@472 "
        "windows@480 format@488",
    ),
    "kernmalloc.kernel.boot.sizing.Plan": (
        152,
        "status@0 donor@8 donation@16 first@24 map@32 donation_maps@40 frames@48 tables@56 records@64 regions@72 "
        "objects@80 chunks@88 last_words@96 pages@104 headroom@112 excess@120 padding@128 top@136 scale@144",
    ),
    "kernmalloc.kernel.check.check.Finding": (24, "record@0 equation@8 address@16"),
    "kernmalloc.kernel.check.tally.Tally": (
        896,
        "asserted@0 failed@8 culprit@16 free@24 heap@32 mapping@40 page@48 dma@56 device@64 reserved@72 regions@80 "
        "kern_seal@88 area_seal@96 map_pages@104 span_errors@112 link_errors@120 unused_errors@128 steps@136 "
        "told@144 told_due@152 ram_errors@160 windows@168 aim_errors@176 stock_errors@184 heap_sum@192 "
        "unlisted@200 unlisted_sum@208 stocked@216 stock_sum@224 drawn@232 mapped@240 mapped_sum@248 tables@256 "
        "table_errors@264 idle@272 kept@280 backed@288 runs@296 filed@304 bin_errors@312 own@320 owned@328 "
        "user_tables@336 states@344 cached@400 state_errors@408 named@416 bucket_errors@424 queued@432 "
        "queue_errors@440 depends@448 source_errors@456 in_flight@464 leaves@472 spaces@480 blocks_held@488 "
        "blocks_mapped@496 devices_held@504 devices_mapped@512 threads@520 waiting@528 ticketed@536 owed@544 "
        "run_errors@552 wait_errors@560 overdue@568 seal@576 run_by@584 layout_errors@592 region_free@600 "
        "summary_errors@608 entry_errors@616 order_errors@624 told_errors@632 cut_errors@640 live@648 ready@656 "
        "used@664 chunk_used@672 device_count@680 fold@688 depend_errors@696 umap_pages@704 umap_tables@712 "
        "umap_root@720 umap_errors@728 tail_pages@736 page_errors@744 joinable@752 slab_starts@760 stacked@768 "
        "slab_errors@776 id@784 slabs@792 partial@800 empty@808 given_back@816 listed@824 empties@832 returned@840 "
        "stack_errors@848 magazine_size@856 magazine_keep@864 magazine_bottom@872 magazine_end@880 "
        "magazine_empty_pages@888",
    ),
    "kernmalloc.kernel.core.kern.Byte": (1, "value@0"),
    "kernmalloc.kernel.core.kern.Cpu": (
        66240,
        "kern@0 id@8 depth@12 run@16 open@24 flags@32 low@40 entries@48 stride@56 drawn@64 windows@72 opened@80 "
        "thread@88 reserve@96 owner@104 heap@112 records@120 record_mask@128 word_mask@136 classes@144 alone@152 "
        "shared@176 noted@200 busy@204 frames@256 frame_groups@272 chunks@1312 chunk_groups@1328 magazines@1600 "
        "stacks@9792 seal@66176",
    ),
    "kernmalloc.kernel.core.kern.Gate": (24, "takes@0 gives@8 high@16"),
    "kernmalloc.kernel.core.kern.Half": (2, "value@0"),
    "kernmalloc.kernel.core.kern.Index": (4, "value@0"),
    "kernmalloc.kernel.core.kern.Kern": (
        13888,
        "magic@0 version@4 layout@6 address@8 lock@16 format@64 page_shift@360 span_shift@364 stage@368 mode@372 "
        "max_pfn@376 base@384 bytes@392 directory@400 tables@408 spans@416 windows@424 cpus@432 cpu_count@440 "
        "hit@448 regions@456 region_count@464 boot_region@472 ram@480 ram_last@488 supply@496 frames@504 "
        "free_frames@512 heap_frames@520 mapping_frames@528 page_frames@536 dma_frames@544 device_frames@552 "
        "reserved_frames@560 stocked@568 returned@576 moved@584 stride@592 identity@600 donation_pfn@608 "
        "donation_frames@616 donation_maps@624 donated_heap@632 donated_maps@640 heap@648 heap_pages@656 "
        "heap_map@664 record_shift@672 top@680 map_pages@688 backed@696 idle@704 peak@712 growth@720 idle_most@728 "
        "bin_bits@736 bins@832 fixed@3904 kept@3912 recycled@3920 excess@3928 released@3936 headroom@3944 "
        "growable@3952 affine@3960 wanted@3968 pages@3976 stalls@4200 promised@4296 lenient@4304 withheld@4312 "
        "opening@4320 opening_heap@4328 device_ranges@4336 device_pages@4344 reserves@4352 device_count@4360 "
        "last_frames@4368 last_ranges@4376 last_maps@4384 caches@4392 cache_count@4400 class_of@4408 common@4416 "
        "info@12608 ranges@12616 range_count@12624 range_next@12632 range_left@12640 objects@12648 "
        "object_count@12656 static@12664 plan@12672 asked@12824 added@12832 coming@12840 adding@12848 root@12952 "
        "static_end@12960 seal@12968 area_seal@12976 checked@12984",
    ),
    "kernmalloc.kernel.core.kern.Word": (8, "bits@0"),
    "kernmalloc.kernel.core.tree.Link": (8, "node@0"),
    "kernmalloc.kernel.core.tree.Node": (24, "left@0 right@8 base@16"),
    "kernmalloc.kernel.devices.Chunk": (32, "left@0 right@8 base@16 used@24"),
    "kernmalloc.kernel.frames.claims.Stalls": (
        96,
        "threads@0 count@8 made@16 first@24 last@32 waiting@40 tickets@48 owed@56 short@64 reserve@72 stalled@80 "
        "late@88",
    ),
    "kernmalloc.kernel.frames.claims.Thread": (
        80,
        "next@0 prev@8 after@16 before@24 number@32 ticket@40 need@48 owed@56 until@64 state@72 cleaner@73 "
        "processor@74",
    ),
    "kernmalloc.kernel.frames.regions.Region": (
        192,
        "left@0 right@8 base@16 count@24 kind@32 chunk_hint@36 area@40 entries@48 origin@56 word_count@64 "
        "words@72 sums@80 tops@88 full@96 free@104 hint@112 next@120 identities@128 tier@136 under@138 cut@140 "
        "attribute@142 chunks@144 live@152 ready@160 ready_count@168 guaranteed@176 used@184",
    ),
    "kernmalloc.kernel.frames.stock.Group": (16, "base@0 bits@8"),
    "kernmalloc.kernel.frames.stock.Stock": (16, "top@0 last@8"),
    "kernmalloc.kernel.frames.table.Frame": (16, "type@0 order@1 pins@2 link@4 owner@8"),
    "kernmalloc.kernel.frames.table.FrameWords": (16, "head@0 owner@8"),
    "kernmalloc.kernel.frames.table.Page": (
        16,
        "type@0 order@1 pins@2 link@4 depends@8 state@12 queue@13 uses@14 fold@15",
    ),
    "kernmalloc.kernel.heap.bins.HeapPage": (64, "pages@0 next@4 prev@8 use@12 cache@13 owner@14 slab@16"),
    "kernmalloc.kernel.heap.caches.ObjectType": (24, "bytes@0 wanted@8 last@16"),
    "kernmalloc.kernel.heap.slabs.Cache": (
        64,
        "size@0 reciprocal@4 pattern@8 slots@16 pages@18 stack@19 keep@20 common@24 id@26 kept@28 slabs@32 "
        "limit@40 wanted@48 object@56 seal@60",
    ),
    "kernmalloc.kernel.heap.slabs.Magazine": (
        64,
        "top@0 bottom@8 end@16 size@24 list@28 empties@32 empty_pages@36 keep@40 returned@44",
    ),
    "kernmalloc.kernel.heap.slabs.SlabPage": (
        64,
        "pages@0 next@4 prev@8 use@12 cache@13 owner@14 waiting@16 used@20 place@22 given@23 returned@24 starts@32",
    ),
    "kernmalloc.kernel.heap.slabs.Stacked": (8, "va@0"),
    "kernmalloc.kernel.heap.usage.Usage": (56, "bound@0 backed@8 live@16 peak@24 largest@32 frames@40 free@48"),
    "kernmalloc.kernel.loaders.found.LoaderMap": (
        56,
        "direct@0 reach@8 ranges@16 room@24 count@32 before@40 dropped@48",
    ),
    "kernmalloc.kernel.loaders.found.LoaderRange": (24, "base@0 bytes@8 kind@16"),
    "kernmalloc.kernel.loaders.found.Octet": (1, "value@0"),
    "kernmalloc.kernel.map.miss.Refill": (32, "memory@0 kernel@8 process@16 tag@24"),
    "kernmalloc.kernel.pages.depends.Depend": (24, "next@0 umap@8 va@16"),
    "kernmalloc.kernel.pages.pages.Identity": (16, "oid@0 next@8 prev@12"),
    "kernmalloc.kernel.pages.pages.Pages": (
        224,
        "heads@0 buckets@8 ghosts@16 ghost_count@24 counts@32 queues@88 umaps@136 tables@144 hits@152 misses@160 "
        "evictions@168 reads@176 writes@184 source@192 asked@200 seen@208 lies@216",
    ),
    "kernmalloc.kernel.pages.pages.Queue": (24, "first@0 last@8 count@16"),
    "kernmalloc.kernel.pages.source.Answer": (16, "frame@0 status@8"),
    "kernmalloc.kernel.pages.source.Request": (16, "oid@0 frame@8"),
    "kernmalloc.kernel.pages.source.Ring": (2112, "asked@0 answered@4 requests@64 answers@1088"),
    "kernmalloc.kernel.pages.umap.Umap": (48, "root@0 next@8 prev@16 pages@24 tables@32 root_pa@40"),
    "kernmalloc.machine.bare.Byte": (1, "value@0"),
    "kernmalloc.machine.bare.Cell": (8, "value@0"),
    "kernmalloc.machine.distances.Count": (8, "count@0"),
    "kernmalloc.machine.distances.Distances": (81992, "used@0 places@8 near@16392 far@81928"),
    "kernmalloc.machine.distances.Place": (16, "key@0 space@8"),
    "kernmalloc.machine.hosted.Hosted": (
        392,
        "ram@0 ram_bytes@8 fd@16 format@24 root@320 window@328 target@336 fresh@344 users@352 processors@360 "
        "mapped@368 failed@376 membarrier@384",
    ),
    "kernmalloc.machine.mmu.Entry": (8, "bits@0"),
    "kernmalloc.machine.mmu.Format": (
        296,
        "number@0 attributes@2 page_shift@4 index_bits@5 root_shift@6 root_bits@7 word_shift@8 entry_shift@9 "
        "upper_entry_shift@10 group@11 pa_shift@12 root_pages@13 break_first@14 address@16 present@24 "
        "large_mask@32 large_value@40 used@48 write_mask@56 read_only@64 user_end@72 root_end@80 "
        "execute_mask@88 execute_value@96 execute_large_mask@104 execute_large_value@112 root@120 table@128 "
        "user_root@136 user_table@144 leaf@152 large@160 page@168 user_large@176 table_step@184 "
        "large_step@192 cache_mask@200 cache@208 large_write_mask@240 large_read_only@248 "
        "large_cache_mask@256 large_cache@264",
    ),
    "kernmalloc.machine.mmu.NarrowEntry": (4, "bits@0"),
    "kernmalloc.machine.soft.Soft": (
        536,
        "core@0 page_shift@8 ram@16 ram_bytes@24 format@32 root@328 window@336 target@344 fresh@352 users@360 "
        "processors@368 sink@376 zeros@384 sparse@392 faults@448 fault@456 tables@464 heap_map@472 heap@480 "
        "windows@488 cores@496 core_count@504 text_pages@512 stack_pages@520 image_end@528",
    ),
    "kernmalloc.machine.soft.Span": (16, "start@0 end@8"),
    "kernmalloc.machine.soft_ram.Given": (16, "number@0 at@8"),
    "kernmalloc.machine.soft_ram.Sparse": (
        56,
        "slots@0 slots_shift@8 shift@16 given@24 next@32 end@40 lost@48",
    ),
    "kernmalloc.machine.tlb.Core": (
        36480,
        "clock@0 operations@8 space@16 tlb_count@24 drops@32 drops_all@33 quiet@34 random@40 "
        "distances@48 notes@56 hardware@64 marks@2992 walked@3000 busy@3104 always@3112 tlbs@3176 "
        "traffic@3496 shortcuts@3712",
    ),
    "kernmalloc.machine.tlb.Noted": (8, "core@0"),
    "kernmalloc.machine.tlb.Shortcut": (
        64,
        "read@0 write@8 delta@16 slot@24 serial@32 hits@40 what@48 space@56",
    ),
    "kernmalloc.machine.tlb.Slot": (
        64,
        "page@0 space@8 pa@16 stamp@24 loaded@32 serial@40 size@48 rights@49 what@50 locked@51",
    ),
    "kernmalloc.machine.tlb.Tlb": (
        40,
        "slots@0 sets@8 ways@16 sizes@24 splits@32 level@33 kinds@34 replacement@35",
    ),
    "kernmalloc.machine.tlb.Traffic": (24, "accesses@0 misses@8 walks@16"),
    "kernmalloc.machine.walker.Form": (
        144,
        "mask@0 value@8 address@16 reserved@24 beyond@32 read_mask@40 read@48 write_mask@56 write@64 "
        "execute_mask@72 execute@80 user_mask@88 user@96 user_execute_mask@104 user_execute@112 used@120 "
        "dirty@128 page@136",
    ),
    "kernmalloc.machine.walker.Hardware": (
        2928,
        "word_shift@0 pa_shift@1 levels@2 va_bits@3 high@4 formless@5 beyond@6 habits@7 present@8 level@16 form@48",
    ),
    "kernmalloc.machine.walker.Level": (5, "shift@0 bits@1 step@2 first@3 last@4"),
    "kernmalloc.machine.walker.NarrowWord": (4, "bits@0"),
    "kernmalloc.machine.walker.Walked": (
        104,
        "pa@0 page@8 rights@16 entry@24 at@32 number@40 used@48 dirty@56 steps@64",
    ),
    "kernmalloc.machine.walker.Word": (8, "bits@0"),
}


def records() -> dict[str, RecordType]:
    """Every record that kernel and machine declare."""
    found = {}
    for package in (kernmalloc.kernel, kernmalloc.machine):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, RecordType) and value is not Record:
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
    assert all(behind.offset >= field.offset + field.size for field, behind in pairwise(record.fields.values()))


def test_a_core_table_entry_has_at_most_16_bytes():
    """E6: our part of it; EROS has 44, Coyotos 60, Linux 64."""
    assert records()["kernmalloc.kernel.frames.table.Frame"].size <= 16
