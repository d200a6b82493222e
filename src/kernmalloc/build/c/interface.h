/*
 * The interface, in pointers and physical addresses. Each function is a call of that name on the
 * processor that runs; the entries above say what is promised, and each refusal.
 *
 * What gives a pointer gives NULL where it is refused. All else gives the status: km_failed() asks
 * for one. A physical address is whole, not a frame's number. Whoever may be moved to another
 * processor must not be while a call is under way.
 */

/* The record of the processor that runs, which km_start or km_cpu_online gave. The port keeps it. */
struct km_cpu *km_port_processor(void);

/* 1 if a result is a status that refuses. */
static inline int km_failed(int64_t result)
{
	return -4095 <= result && result < 0;
}

/* A result as a pointer: NULL where it refuses. */
static inline void *km_pointer(int64_t result)
{
	return km_failed(result) ? NULL : (void *)(uintptr_t)result;
}

/* A pointer as the address that entries take. */
static inline int64_t km_address(const void *pointer)
{
	return (int64_t)(uintptr_t)pointer;
}

/* log2 of the bytes in a frame. */
static inline int km_page_shift(const struct km_cpu *cpu)
{
	return (int)cpu->kern->page_shift;
}

/* The number of the frame that has a physical address. */
static inline int64_t km_pfn(const struct km_cpu *cpu, uint64_t pa)
{
	return (int64_t)(pa >> km_page_shift(cpu));
}

/* The physical address of a frame, by its number; a status stays one. */
static inline uint64_t km_pa(const struct km_cpu *cpu, int64_t pfn)
{
	return km_failed(pfn) ? (uint64_t)pfn : (uint64_t)pfn << km_page_shift(cpu);
}

/* How many frames so many bytes take. */
static inline int64_t km_frames(const struct km_cpu *cpu, uint64_t bytes)
{
	uint64_t page = (uint64_t)1 << km_page_shift(cpu);

	return (int64_t)((bytes >> km_page_shift(cpu)) + ((bytes & (page - 1)) != 0));
}

/* How many frames a range touches. */
static inline int64_t km_touched(const struct km_cpu *cpu, uint64_t pa, uint64_t bytes)
{
	return bytes == 0 ? 0 : km_pfn(cpu, pa + (bytes - 1)) - km_pfn(cpu, pa) + 1;
}

/*
 * A configuration for km_call_init in which everything is as usual: one processor, and a heap that
 * may take every frame, for nothing is promised to others.
 */
static inline struct km_config km_usual_config(void)
{
	struct km_config config = KM_ZEROS;

	config.version = KM_VERSION;
	config.bytes = sizeof config;
	config.cpus = 1;
	config.lenient = 1;
	return config;
}

/*
 * A map for the ranges that a loader tells of, of which `room` can be put at `ranges`. Physical
 * address 0 can be read at `direct`, and so can all below `reach`.
 */
static inline struct km_loader_map km_loader_map_at(const volatile void *direct, uint64_t reach,
						    struct km_loader_range *ranges, size_t room)
{
	struct km_loader_map map = KM_ZEROS;

	map.direct = (int64_t)(uintptr_t)direct;
	map.reach = reach > INT64_MAX ? INT64_MAX : (int64_t)reach;
	map.ranges = ranges;
	map.room = (int64_t)room;
	return map;
}

/* Add what %ebx leads to where %eax is 0x2BADB002. */
static inline int64_t km_ranges_multiboot(struct km_loader_map *map, uint64_t pa)
{
	return km_call_ranges_multiboot(map, (int64_t)pa);
}

/* Add what %ebx leads to where %eax is 0x36D76289. */
static inline int64_t km_ranges_multiboot2(struct km_loader_map *map, uint64_t pa)
{
	return km_call_ranges_multiboot2(map, (int64_t)pa);
}

/* Add what the loader has answered to Limine's request for the memory map, which `direct` maps. */
static inline int64_t km_ranges_limine(struct km_loader_map *map, const volatile void *response)
{
	return km_call_ranges_limine(map, (int64_t)(uintptr_t)response);
}

/* Add what GetMemoryMap has answered, with a descriptor every `stride` bytes. */
static inline int64_t km_ranges_efi(struct km_loader_map *map, uint64_t pa, uint64_t bytes,
				    uint64_t stride)
{
	return km_call_ranges_efi(map, (int64_t)pa, (int64_t)bytes, (int64_t)stride);
}

/* Add what a flattened device tree tells. */
static inline int64_t km_ranges_fdt(struct km_loader_map *map, uint64_t pa)
{
	return km_call_ranges_fdt(map, (int64_t)pa);
}

/* Add what PVH's %ebx leads to. */
static inline int64_t km_ranges_pvh(struct km_loader_map *map, uint64_t pa)
{
	return km_call_ranges_pvh(map, (int64_t)pa);
}

/* Add what Linux's boot_params tell. */
static inline int64_t km_ranges_linux(struct km_loader_map *map, uint64_t pa)
{
	return km_call_ranges_linux(map, (int64_t)pa);
}

/* Add a range that the caller knows: KM_RANGE_IMAGE for the kernel's own image and boot area. */
static inline int64_t km_ranges_add(struct km_loader_map *map, uint64_t base, uint64_t bytes, int kind)
{
	return km_call_ranges_add(map, (int64_t)base, (int64_t)bytes, kind);
}

/* Make of a map at most `room` ranges of frames for a configuration: how many there are. */
static inline int64_t km_ranges_frames(struct km_loader_map *map, struct km_boot_range *out, size_t room, int page_shift,
				       uint64_t max_pfn)
{
	return km_call_ranges_frames(map, out, (int64_t)room, page_shift, (int64_t)max_pfn);
}

/*
 * What only ranges of one kind keep from the kernel, such as KM_RANGE_TABLE, as ranges of frames: when
 * the kernel needs the loader's memory no more, km_add_ram takes them.
 */
static inline int64_t km_ranges_left(struct km_loader_map *map, struct km_boot_range *out, size_t room, int page_shift,
				     uint64_t max_pfn, int kind)
{
	return km_call_ranges_left(map, out, (int64_t)room, page_shift, (int64_t)max_pfn, kind);
}

/* Where `frames` frames of RAM are free: at pfn `preferred`, else at the lowest from `low` on, else anywhere. */
static inline int64_t km_ranges_find(struct km_boot_range *ranges, size_t count, uint64_t preferred, uint64_t frames,
				     uint64_t low)
{
	return km_call_ranges_find(ranges, (int64_t)count, (int64_t)preferred, (int64_t)frames, (int64_t)low);
}

/* The bytes of memory that the boot area takes. */
static inline int64_t km_area_bytes(struct km_config *config)
{
	return km_call_area_bytes(config);
}

/*
 * Fill the boot area, before paging is on: the physical address of the root of the page tables, or
 * a status. Physical address 0 can be loaded from at `phys`.
 */
static inline uint64_t km_init(struct km_config *config, const volatile void *phys)
{
	return (uint64_t)km_call_init(config, (int64_t)(uintptr_t)phys);
}

/* Start the kernel, once paging is on: the record of the first processor. */
static inline struct km_cpu *km_start(struct km_config *config)
{
	return (struct km_cpu *)km_pointer(km_call_start(config));
}

/* The record of processor `number`, asked for by one that has its own. */
static inline struct km_cpu *km_cpu_online(int number)
{
	return (struct km_cpu *)km_pointer(km_call_cpu_online(km_port_processor(), number));
}

/* Make the block of `bytes` bytes at `block` an arena: the record of its processor. */
static inline struct km_cpu *km_arena(void *block, size_t bytes)
{
	return (struct km_cpu *)km_pointer(km_call_arena_make(km_address(block), (int64_t)bytes));
}

/* Give it another block. */
static inline int64_t km_arena_add(void *block, size_t bytes)
{
	return km_call_arena_add(km_port_processor(), km_address(block), (int64_t)bytes);
}

static inline void *km_malloc(size_t bytes)
{
	return km_pointer(km_call_malloc(km_port_processor(), (int64_t)bytes));
}

static inline void *km_malloc_aligned(size_t bytes, size_t align)
{
	return km_pointer(km_call_malloc_aligned(km_port_processor(), (int64_t)bytes, (int64_t)align));
}

static inline void *km_calloc(size_t count, size_t bytes)
{
	return km_pointer(km_call_calloc(km_port_processor(), (int64_t)count, (int64_t)bytes));
}

/* NULL: as malloc does. Where it is refused what is at `at` stays. */
static inline void *km_realloc(void *at, size_t bytes)
{
	struct km_cpu *cpu = km_port_processor();

	return km_pointer(at ? km_call_realloc(cpu, km_address(at), (int64_t)bytes)
			     : km_call_malloc(cpu, (int64_t)bytes));
}

/* NULL: nothing. */
static inline int64_t km_free(void *at)
{
	return at ? km_call_free(km_port_processor(), km_address(at)) : 0;
}

/* NULL: nothing. */
static inline int64_t km_free_sized(void *at, size_t bytes)
{
	return at ? km_call_free_sized(km_port_processor(), km_address(at), (int64_t)bytes) : 0;
}

static inline int64_t km_size_of(const void *at)
{
	return km_call_size_of(km_port_processor(), km_address(at));
}

static inline int64_t km_cache_create(size_t bytes, size_t limit)
{
	return km_call_cache_create(km_port_processor(), (int64_t)bytes, (int64_t)limit);
}

static inline int64_t km_cache_create_aligned(size_t bytes, size_t limit, size_t align)
{
	return km_call_cache_create_aligned(km_port_processor(), (int64_t)bytes, (int64_t)limit,
			(int64_t)align);
}

static inline int64_t km_cache_destroy(int64_t cache)
{
	return km_call_cache_destroy(km_port_processor(), cache);
}

static inline void *km_cache_get(int64_t cache)
{
	return km_pointer(km_call_cache_get(km_port_processor(), cache));
}

static inline int64_t km_cache_put(int64_t cache, void *object)
{
	return km_call_cache_put(km_port_processor(), cache, km_address(object));
}

/* Many objects at once, or none: `count`, and their addresses in the array, or a status. */
static inline int64_t km_cache_get_bulk(int64_t cache, int64_t count, struct km_word *objects)
{
	return km_call_cache_get_bulk(km_port_processor(), cache, count, objects);
}

/* All of these, or none. */
static inline int64_t km_cache_put_bulk(int64_t cache, int64_t count, struct km_word *objects)
{
	return km_call_cache_put_bulk(km_port_processor(), cache, count, objects);
}

/* Memory that came later, or that the loader gives back: whole frames. */
static inline int64_t km_add_ram(uint64_t pa, uint64_t bytes)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_ram_add(cpu, km_frames(cpu, pa), km_pfn(cpu, pa + bytes) - km_frames(cpu, pa), 0);
}

/* The same, described in its own first frames. */
static inline int64_t km_add_ram_self_hosted(uint64_t pa, uint64_t bytes)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_ram_add(cpu, km_frames(cpu, pa), km_pfn(cpu, pa + bytes) - km_frames(cpu, pa), 1);
}

/* One frame, of type KM_PAGE or KM_DMA. */
static inline uint64_t km_frame_get(int type)
{
	struct km_cpu *cpu = km_port_processor();

	return km_pa(cpu, km_call_frame_get(cpu, type));
}

/* 2 ** order frames, aligned to their size. */
static inline uint64_t km_block_get(int order, int type)
{
	struct km_cpu *cpu = km_port_processor();

	return km_pa(cpu, km_call_block_get(cpu, order, type));
}

/* What km_frame_get or km_block_get gave. */
static inline int64_t km_frame_put(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_frame_put(cpu, km_pfn(cpu, pa));
}

/*
 * Many frames of type KM_PAGE at once, or none: `count`, and their numbers in the array, or a status.
 * km_pa makes an address of a number.
 */
static inline int64_t km_frames_get(int64_t count, struct km_word *numbers)
{
	return km_call_frames_get(km_port_processor(), count, numbers);
}

/* All of these, of whatever type, each the start of a frame or block that is the caller's; or none. */
static inline int64_t km_frames_put(int64_t count, struct km_word *numbers)
{
	return km_call_frames_put(km_port_processor(), count, numbers);
}

static inline int64_t km_frame_type(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_frame_type(cpu, km_pfn(cpu, pa));
}

/*
 * Frames of zeros for so many bytes, side by side: at a multiple of `align`, inside [low, high),
 * and not across a multiple of `boundary`, 0 for none. All are bytes.
 */
static inline uint64_t km_range_get(uint64_t bytes, uint64_t align, uint64_t low, uint64_t high,
		uint64_t boundary, int type)
{
	struct km_cpu *cpu = km_port_processor();

	return km_pa(cpu, km_call_range_get(cpu, km_frames(cpu, bytes), km_frames(cpu, align),
			km_frames(cpu, low), km_pfn(cpu, high), km_pfn(cpu, boundary), type));
}

static inline int64_t km_range_put(uint64_t pa, uint64_t bytes)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_range_put(cpu, km_pfn(cpu, pa), km_frames(cpu, bytes));
}

/* Where the frame at a physical address can be read and written, on this processor, until it is closed. */
static inline void *km_window_open(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_pointer(km_call_window_open(cpu, km_pfn(cpu, pa)));
}

static inline int64_t km_window_close(void *window)
{
	return km_call_window_close(km_port_processor(), km_address(window));
}

static inline int64_t km_zero_frame(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_zero_frame(cpu, km_pfn(cpu, pa));
}

static inline int64_t km_copy_frame(uint64_t to, uint64_t of)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_copy_frame(cpu, km_pfn(cpu, to), km_pfn(cpu, of));
}

/* From physical memory, inside one frame, to memory of malloc. */
static inline int64_t km_copyin(void *to, uint64_t of, size_t bytes)
{
	struct km_cpu *cpu = km_port_processor();
	int64_t inside = (int64_t)(of & (((uint64_t)1 << km_page_shift(cpu)) - 1));

	return km_call_copyin(cpu, km_pfn(cpu, of), inside, km_address(to), (int64_t)bytes);
}

/* From memory of malloc to physical memory, inside one frame. */
static inline int64_t km_copyout(uint64_t to, const void *of, size_t bytes)
{
	struct km_cpu *cpu = km_port_processor();
	int64_t inside = (int64_t)(to & (((uint64_t)1 << km_page_shift(cpu)) - 1));

	return km_call_copyout(cpu, km_pfn(cpu, to), inside, km_address(of), (int64_t)bytes);
}

/*
 * Publish memory of a device, all frames that it touches: kind KM_DEVICE_MEMORY, KM_ROM or KM_NVRAM.
 * The entries of its first `guarantee` bytes are paid for; tier KM_ANYONE, or KM_LAST_WORDS for what
 * must fit whatever has happened. km_wanted says what a refusal lacked.
 */
static inline int64_t km_publish(uint64_t pa, uint64_t bytes, int kind, uint64_t guarantee, int tier)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_publish(cpu, km_pfn(cpu, pa), km_touched(cpu, pa, bytes), kind,
			km_touched(cpu, pa, guarantee), tier);
}

static inline int64_t km_withdraw(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_withdraw(cpu, km_pfn(cpu, pa));
}

static inline int64_t km_device_get(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_device_get(cpu, km_pfn(cpu, pa));
}

static inline int64_t km_device_put(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_device_put(cpu, km_pfn(cpu, pa));
}

static inline int64_t km_device_used(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_device_used(cpu, km_pfn(cpu, pa));
}

/* How a device's frame must be cached: KM_CACHE_UNCACHED and its like. */
static inline int64_t km_device_attribute(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_device_attribute(cpu, km_pfn(cpu, pa));
}

static inline int64_t km_device_cache(uint64_t pa, int attribute)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_device_cache(cpu, km_pfn(cpu, pa), attribute);
}

/* The frame that holds a page of the page cache. */
static inline uint64_t km_page_get(int64_t object)
{
	struct km_cpu *cpu = km_port_processor();

	return km_pa(cpu, km_call_page_get(cpu, object));
}

static inline int64_t km_page_pin(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_page_pin(cpu, km_pfn(cpu, pa));
}

static inline int64_t km_page_unpin(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_page_unpin(cpu, km_pfn(cpu, pa));
}

static inline int64_t km_page_dirty(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_page_dirty(cpu, km_pfn(cpu, pa));
}

static inline int64_t km_page_clean(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_page_clean(cpu, km_pfn(cpu, pa));
}

static inline int64_t km_page_discard(uint64_t pa)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_page_discard(cpu, km_pfn(cpu, pa));
}

static inline struct km_umap *km_umap_make(void)
{
	return (struct km_umap *)km_pointer(km_call_umap_make(km_port_processor()));
}

static inline int64_t km_umap_map(struct km_umap *space, uint64_t va, int64_t object, int write)
{
	return km_call_umap_map(km_port_processor(), space, (int64_t)va, object, write);
}

/* A large page, of memory from `pa` on that km_range_get gave or of a published range. */
static inline int64_t km_umap_map_large(struct km_umap *space, uint64_t va, uint64_t pa, int write)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_umap_map_large(cpu, space, (int64_t)va, km_pfn(cpu, pa), write);
}

/* Memory of a published range, all frames that it touches, cached as the range says. */
static inline int64_t km_umap_map_device(struct km_umap *space, uint64_t va, uint64_t pa,
					 uint64_t bytes, int write)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_umap_map_device(cpu, space, (int64_t)va, km_pfn(cpu, pa),
				       km_touched(cpu, pa, bytes), write);
}

static inline int64_t km_umap_unmap(struct km_umap *space, uint64_t va)
{
	return km_call_umap_unmap(km_port_processor(), space, (int64_t)va);
}

/* All that is mapped in so many bytes, whole pages. */
static inline int64_t km_umap_unmap_range(struct km_umap *space, uint64_t va, uint64_t bytes)
{
	struct km_cpu *cpu = km_port_processor();

	return km_call_umap_unmap_range(cpu, space, (int64_t)va, km_frames(cpu, bytes));
}

static inline int64_t km_umap_free(struct km_umap *space)
{
	return km_call_umap_free(km_port_processor(), space);
}

/* The ring that is shared with the source of the cache's pages. */
static inline void *km_source_open(void)
{
	return km_pointer(km_call_source_open(km_port_processor()));
}

static inline int64_t km_source_close(void)
{
	return km_call_source_close(km_port_processor());
}

static inline int64_t km_source_poll(void)
{
	return km_call_source_poll(km_port_processor());
}

static inline struct km_thread *km_thread_make(int cleaner)
{
	return (struct km_thread *)km_pointer(km_call_thread_make(km_port_processor(), cleaner));
}

/* NULL: nobody. */
static inline int64_t km_thread_run(struct km_thread *thread)
{
	return km_call_thread_run(km_port_processor(), thread);
}

/* NULL: there is none. km_call_thread_next tells of a deadlock. */
static inline struct km_thread *km_thread_next(void)
{
	return (struct km_thread *)km_pointer(km_call_thread_next(km_port_processor()));
}

static inline int64_t km_thread_limit(struct km_thread *thread, int64_t until)
{
	return km_call_thread_limit(km_port_processor(), thread, until);
}

static inline int64_t km_thread_cancel(struct km_thread *thread)
{
	return km_call_thread_cancel(km_port_processor(), thread);
}

static inline int64_t km_thread_free(struct km_thread *thread)
{
	return km_call_thread_free(km_port_processor(), thread);
}

static inline int64_t km_tick(int64_t now)
{
	return km_call_tick(km_port_processor(), now);
}

/* What the last refused call lacked: frames. */
static inline int64_t km_wanted(void)
{
	return km_port_processor()->kern->wanted;
}

/*
 * Have so many frames ready: what all processors keep idle goes back, then pages of the cache. How
 * many can be had now.
 */
static inline int64_t km_reclaim(int64_t frames)
{
	return km_call_collect(km_port_processor(), frames);
}

static inline int64_t km_stats(struct km_usage *usage)
{
	return km_call_usage(km_port_processor(), usage);
}

/* km_check, and what it found: a record by its number, KM_CHECKED_..., an equation, an address. */
static inline int64_t km_check_found(struct km_finding *finding)
{
	return km_call_check_found(km_port_processor(), finding);
}

static inline int64_t km_drain(void)
{
	return km_call_drain(km_port_processor());
}

static inline int64_t km_release(void)
{
	return km_call_release(km_port_processor());
}

static inline int64_t km_check(void)
{
	return km_call_check(km_port_processor());
}
