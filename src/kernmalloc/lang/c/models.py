"""What C needs before the kernel begins: macros, intrinsics, atomics, and the C library's calls of the hosted life."""

from __future__ import annotations

from kernmalloc.lang.records import REFERENCE

HEADER = r"""
#ifdef __cplusplus
#define _Static_assert static_assert
#define KM_ZEROS {}
extern "C" {
#else
#define KM_ZEROS {0}
#endif

/* A struct lies over whatever bytes are there, so it may alias everything. */
#if defined(__GNUC__) || defined(__clang__)
#define KM_RECORD __attribute__((may_alias))
#else
#define KM_RECORD
#endif
""".strip()

_NARROW = r"""
/* A reference takes 4 bytes in memory: this is for processors of which a pointer takes as many. */
#if UINTPTR_MAX > 0xffffffff
#error "references are 4 bytes here: export for a processor of 64 bits"
#endif
#define KM_LOW 0
#define KM_REF(type, name) type *name
#define KM_SET(field, value) ((field) = (value))
""".strip()

_WIDE = r"""
/*
 * A reference takes 8 bytes in memory on every target. Where pointers take 4 its upper half is zero.
 * KM_LOW is where the pointer lies in these bytes; KM_SET stores a reference.
 */
#if UINTPTR_MAX > 0xffffffff
#define KM_LOW 0
#define KM_REF(type, name) type *name
#define KM_SET(field, value) ((field) = (value))
#else
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define KM_LOW 4
#define KM_REF(type, name) uint32_t name##_above; type *name
#else
#define KM_LOW 0
#define KM_REF(type, name) type *name; uint32_t name##_above
#endif
#define KM_SET(field, value) km_set(&(field), (value))
#endif
""".strip()

REFERENCES = {4: _NARROW, 8: _WIDE}[REFERENCE]
"""How a record holds references."""

POISON = r"""
/* Memory that nobody may touch for now, and that may be touched again: for a sanitizer to know. */
#ifndef KM_POISON
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KM_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(KM_ASAN)
void __asan_poison_memory_region(void const volatile *address, size_t bytes);
void __asan_unpoison_memory_region(void const volatile *address, size_t bytes);
#define KM_POISON(address, bytes) __asan_poison_memory_region((address), (bytes))
#define KM_UNPOISON(address, bytes) __asan_unpoison_memory_region((address), (bytes))
#else
#define KM_POISON(address, bytes) ((void)(address), (void)(bytes))
#define KM_UNPOISON(address, bytes) ((void)(address), (void)(bytes))
#endif
#endif
""".strip()

MACROS = r"""
/* KM_CPUS=1 is for one processor: plain accesses stand in for atomic ones. */
#ifndef KM_CPUS
#define KM_CPUS 2
#endif

/* The record at an address, and the address of a record. */
#define AT(record, address) ((struct record *)(uintptr_t)(address))
#define ADDR(reference) ((int64_t)(uintptr_t)(reference))
""".strip()

_SET_WIDE = r"""
#if UINTPTR_MAX <= 0xffffffff
static inline void km_set(void *field, const void *value)
{
	typedef uint64_t KM_RECORD whole;

	*(whole *)((uintptr_t)field & ~(uintptr_t)7) = (uintptr_t)value;
}
#endif
""".strip()

SET = {4: (), 8: (_SET_WIDE,)}[REFERENCE]
"""What stores a reference, where that takes a function."""

_COUNTS = r"""
/* How the processor counts bits: 64 at once, 32 at once, or not at all. No compiler calls a library for it. */
#ifdef KM_COUNTS
#elif defined(__TINYC__)
#define KM_COUNTS 0
#elif defined(__x86_64__) || defined(__aarch64__) || (defined(__riscv_zbb) && __riscv_xlen == 64)
#define KM_COUNTS 64
#elif defined(__i386__) || defined(__ARM_FEATURE_CLZ)
#define KM_COUNTS 32
#else
#define KM_COUNTS 0
#endif
""".strip()

_CLZ = r"""
/* Zero bits above the highest one; 64 for 0. */
static inline int64_t clz(int64_t x)
{
#if KM_COUNTS == 64
	return x ? __builtin_clzll((unsigned long long)x) : 64;
#elif KM_COUNTS == 32
	uint32_t high = (uint32_t)((uint64_t)x >> 32), low = (uint32_t)x;

	return high ? __builtin_clz(high) : low ? 32 + __builtin_clz(low) : 64;
#else
	uint64_t left = (uint64_t)x;
	int64_t zeros = 64;

	for (int half = 32; half; half >>= 1) {
		if (left >> half) {
			zeros -= half;
			left >>= half;
		}
	}
	return zeros - (int64_t)left;
#endif
}
""".strip()

_CTZ = r"""
/* Zero bits below the lowest one; 64 for 0. */
static inline int64_t ctz(int64_t x)
{
#if KM_COUNTS == 64
	return x ? __builtin_ctzll((unsigned long long)x) : 64;
#elif KM_COUNTS == 32
	uint32_t high = (uint32_t)((uint64_t)x >> 32), low = (uint32_t)x;

	return low ? __builtin_ctz(low) : high ? 32 + __builtin_ctz(high) : 64;
#else
	uint64_t left = (uint64_t)x;
	int64_t zeros = 0;

	if (x == 0)
		return 64;
	for (int half = 32; half; half >>= 1) {
		if (left << (64 - half) == 0) {
			zeros += half;
			left >>= half;
		}
	}
	return zeros;
#endif
}
""".strip()

_SURE = r"""
/* x is not 0: the compiler need not ask. */
static inline int64_t sure(int64_t x)
{
#ifdef __GNUC__
	if (!x)
		__builtin_unreachable();
#else
	(void)x;
#endif
	return 0;
}
""".strip()

_POPCOUNT = r"""
/* One bits. */
static inline int64_t popcount(int64_t x)
{
#if !defined(__TINYC__) && (defined(__POPCNT__) || (defined(__riscv_zbb) && __riscv_xlen == 64))
	return __builtin_popcountll((unsigned long long)x);
#else
	uint64_t sums = (uint64_t)x;

	sums -= (sums >> 1) & UINT64_C(0x5555555555555555);
	sums = (sums & UINT64_C(0x3333333333333333)) + ((sums >> 2) & UINT64_C(0x3333333333333333));
	sums = (sums + (sums >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (int64_t)((sums * UINT64_C(0x0101010101010101)) >> 56);
#endif
}
""".strip()

_PAUSE = r"""
/* Tell the processor that this is a spin loop. */
static inline int64_t pause(void)
{
#if KM_CPUS == 1
#elif defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("pause" ::: "memory");
#elif defined(__aarch64__) || (defined(__ARM_ARCH) && __ARM_ARCH >= 7)
	__asm__ volatile("yield" ::: "memory");
#elif defined(__riscv)
	__asm__ volatile(".4byte 0x0100000f" ::: "memory");
#endif
	return 0;
}
""".strip()

_LITTLE = r"""
/* The word whose bytes are those of x from the lowest to the highest. */
static inline int64_t little(int64_t x)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	uint64_t word = (uint64_t)x;

	word = ((word & UINT64_C(0x00ff00ff00ff00ff)) << 8) | ((word >> 8) & UINT64_C(0x00ff00ff00ff00ff));
	word = ((word & UINT64_C(0x0000ffff0000ffff)) << 16) | ((word >> 16) & UINT64_C(0x0000ffff0000ffff));
	return (int64_t)((word << 32) | (word >> 32));
#else
	return x;
#endif
}
""".strip()


def _simple(comment: str, head: str, value: str) -> str:
    return f"/* {comment} */\nstatic inline int64_t {head}\n{{\n\treturn {value};\n}}"


def _word(bits: int) -> str:
    kind = {32: "INT", 64: "LLONG"}[bits]
    return f"""typedef uint{bits}_t KM_RECORD km_word{bits};
#if KM_CPUS != 1 && (defined(__TINYC__) || __GCC_ATOMIC_{kind}_LOCK_FREE != 2)
#error "this target has no atomic accesses of {bits} bits: compile with -DKM_CPUS=1"
#endif"""


def _cas(bits: int) -> str:
    return f"""/* If the word at an address is old, make it new: 1 if so (acquire and release), else 0. */
static inline int64_t cas{bits}(int64_t address, int64_t old, int64_t wanted)
{{
	km_word{bits} *word = (km_word{bits} *)(uintptr_t)address;
	km_word{bits} expected = (uint{bits}_t)old;

#if KM_CPUS == 1
	if (*word != expected)
		return 0;
	*word = (uint{bits}_t)wanted;
	return 1;
#else
	return __atomic_compare_exchange_n(word, &expected, (uint{bits}_t)wanted, 0, __ATOMIC_ACQ_REL,
			__ATOMIC_RELAXED);
#endif
}}"""


def _load(bits: int) -> str:
    return f"""/* The word at an address; later accesses stay behind it. */
static inline int64_t load_acquire{bits}(int64_t address)
{{
	km_word{bits} *word = (km_word{bits} *)(uintptr_t)address;

#if KM_CPUS == 1
	return (int64_t)*word;
#else
	return (int64_t)__atomic_load_n(word, __ATOMIC_ACQUIRE);
#endif
}}"""


def _store(bits: int) -> str:
    return f"""/* Put a value into the word at an address after every earlier access. */
static inline int64_t store_release{bits}(int64_t address, int64_t value)
{{
	km_word{bits} *word = (km_word{bits} *)(uintptr_t)address;

#if KM_CPUS == 1
	*word = (uint{bits}_t)value;
#else
	__atomic_store_n(word, (uint{bits}_t)value, __ATOMIC_RELEASE);
#endif
	return 0;
}}"""


_STORE_BEFORE = """/* Put a value into the word at an address; no later access is before it in the program. */
static inline int64_t store_before32(int64_t address, int64_t value)
{
	km_word32 *word = (km_word32 *)(uintptr_t)address;

#if KM_CPUS == 1
	*word = (uint32_t)value;
#else
	*(volatile km_word32 *)word = (uint32_t)value;  /* gcc for RISC-V makes a relaxed store an atomic swap */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#endif
	return 0;
}"""


def _poison(name: str) -> str:
    return f"""static inline int64_t {name}(int64_t address, int64_t bytes)
{{
	KM_{name.upper()}((void *)(uintptr_t)address, (size_t)bytes);
	return 0;
}}"""


HELPERS: dict[str, tuple[tuple[str, ...], str]] = {
    "counts": ((), _COUNTS),
    "clz": (("counts",), _CLZ),
    "ctz": (("counts",), _CTZ),
    "popcount": ((), _POPCOUNT),
    "rest": ((), _simple("x without its lowest one bit.", "rest(int64_t x)", "x & (int64_t)((uint64_t)x - 1)")),
    "shl": ((), _simple("<< of any number.", "shl(int64_t x, int64_t n)", "(int64_t)((uint64_t)x << (n & 63))")),
    "shr": (
        (),
        _simple(">> that fills with zeros.", "shr(int64_t x, int64_t n)", "(int64_t)((uint64_t)x >> (n & 63))"),
    ),
    "minus": (
        (),
        _simple("- that may overflow.", "minus(int64_t x, int64_t y)", "(int64_t)((uint64_t)x - (uint64_t)y)"),
    ),
    "below": ((), _simple("< without signs.", "below(int64_t x, int64_t y)", "(uint64_t)x < (uint64_t)y")),
    "sure": ((), _SURE),
    "failed": ((), _simple("1 if x is a status that refuses.", "failed(int64_t x)", "-4095 <= x && x < 0")),
    "little": ((), _LITTLE),
    "min": ((), _simple("The smaller.", "min(int64_t a, int64_t b)", "a < b ? a : b")),
    "max": ((), _simple("The larger.", "max(int64_t a, int64_t b)", "a > b ? a : b")),
    "abs": ((), _simple("Without its sign.", "abs64(int64_t x)", "x < 0 ? -x : x")),
    "word32": ((), _word(32)),
    "word64": ((), _word(64)),
    "cas32": (("word32",), _cas(32)),
    "cas64": (("word64",), _cas(64)),
    "load_acquire32": (("word32",), _load(32)),
    "load_acquire64": (("word64",), _load(64)),
    "store_release32": (("word32",), _store(32)),
    "store_before32": (("word32",), _STORE_BEFORE),
    "pause": ((), _PAUSE),
    "poison": ((), _poison("poison")),
    "unpoison": ((), _poison("unpoison")),
    "ram_at": ((), _simple("Where RAM is.", "ram_at(int64_t phys, int64_t pa)", "phys + pa")),
    "ram_given": ((), _simple("All of it is there.", "ram_given(int64_t pa)", "(void)pa, 1")),
    "km_machine_record": (
        (),
        "/* Where the host puts the address of its record. */\nint64_t km_machine;\n\n"
        + _simple("The host's record.", "km_machine_record(void)", "km_machine"),
    ),
    "mmap": (
        (),
        "void *mmap(void *, size_t, int, int, int, long);\n\n"
        "static int64_t host_mmap(int64_t at, int64_t bytes, int64_t rights, int64_t flags, int64_t file,\n"
        "\t\tint64_t from)\n"
        "{\n\treturn ADDR(mmap((void *)(uintptr_t)at, (size_t)bytes, (int)rights, (int)flags,\n"
        "\t\t\t(int)file, (long)from));\n}",
    ),
    "madvise": (
        (),
        "int madvise(void *, size_t, int);\n\n"
        "static int64_t host_madvise(int64_t at, int64_t bytes, int64_t advice)\n"
        "{\n\treturn madvise((void *)(uintptr_t)at, (size_t)bytes, (int)advice);\n}",
    ),
    "syscall": (
        (),
        "long syscall(long, ...);\n\n"
        "static int64_t host_syscall(int64_t number, int64_t a, int64_t b, int64_t c)\n"
        "{\n\treturn syscall((long)number, (long)a, (long)b, (long)c);\n}",
    ),
    "memcpy": (
        (),
        "void *memcpy(void *, const void *, size_t);\n\n"
        "static int64_t host_memcpy(int64_t to, int64_t of, int64_t bytes)\n"
        "{\n\treturn ADDR(memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)of, (size_t)bytes));\n}",
    ),
    "memset": (
        (),
        "void *memset(void *, int, size_t);\n\n"
        "static int64_t host_memset(int64_t at, int64_t byte, int64_t bytes)\n"
        "{\n\treturn ADDR(memset((void *)(uintptr_t)at, (int)byte, (size_t)bytes));\n}",
    ),
}
"""What C has in place of intrinsics, atomics and the C library's primitives, by its name in Python: what each needs
before it, and the text. Only those that are used are written."""

CALLED = {"abs": "abs64", **{name: f"host_{name}" for name in ("mmap", "madvise", "syscall", "memcpy", "memset")}}
"""Those that have another name in C."""


def helpers(used: set[str]) -> list[str]:
    """The texts of some, with what they need, in order."""
    todo, wanted = list(used), set[str]()
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += HELPERS[name][0]
    return [text for name, (_, text) in HELPERS.items() if name in wanted]
