/*
 * What a kernel asks of a flattened device tree (Devicetree Specification 0.4, 5): where a device is, how many
 * processors there are. Addresses and lengths have two cells each, as in QEMU's boards.
 */
#include "board.h"

enum { BEGIN = 1, END = 2, PROPERTY = 3, NOP = 4 };

static uint32_t word(const void *at)
{
	const uint8_t *b = at;
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static uint64_t cell2(const uint8_t *at) { return (uint64_t)word(at) << 32 | word(at + 4); }

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* Whether `name` is one of the texts in a property. */
static int has(const uint8_t *value, uint32_t length, const char *name)
{
	for (uint32_t at = 0; at < length; at++)
		if ((at == 0 || value[at - 1] == 0) && same((const char *)value + at, name))
			return 1;
	return 0;
}

/* Each node: how many there are whose property `key` has `name`; of the first one, its `reg`. */
static int nodes(const void *tree, const char *key, const char *name, const uint8_t **reg)
{
	const uint8_t *at = (const uint8_t *)tree + word((const uint8_t *)tree + 8), *own = 0;
	const char *texts = (const char *)tree + word((const uint8_t *)tree + 12);
	int matches = 0, count = 0;

	for (;;) {
		uint32_t token = word(at);
		at += 4;
		if (token == PROPERTY) {
			const char *called = texts + word(at + 4);
			if (same(called, key) && has(at + 8, word(at), name))
				matches = 1;
			if (same(called, "reg"))
				own = at + 8;
			at += 8 + ((word(at) + 3) & ~3u);
			continue;
		}
		if (token == NOP)
			continue;
		if (matches) {  /* a node's properties stand before its children */
			count++;
			if (reg && !*reg)
				*reg = own;
		}
		matches = 0;
		own = 0;
		if (token == BEGIN) {
			while (*at)
				at++;
			at = (const uint8_t *)(((uintptr_t)at + 4) & ~(uintptr_t)3);
		} else if (token != END) {
			return count;
		}
	}
}

int tree_find(const void *tree, const char *name, uint64_t *base, uint64_t *bytes)
{
	const uint8_t *reg = 0;

	if (!nodes(tree, "compatible", name, &reg) || !reg)
		return 0;
	*base = cell2(reg);
	*bytes = cell2(reg + 8);
	return 1;
}

int tree_count(const void *tree, const char *type)
{
	return nodes(tree, "device_type", type, 0);
}

int tree_wish(const void *tree)
{
	return nodes(tree, "bootargs", "hold", 0) ? HOLD : nodes(tree, "bootargs", "long", 0) ? LONG : 0;
}
