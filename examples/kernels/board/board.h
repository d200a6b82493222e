/* Boards that a flattened device tree describes. */
#include <stdint.h>

/* Where the first node is that is compatible with `name`: its first `reg`. 0: there is none. */
int tree_find(const void *tree, const char *name, uint64_t *base, uint64_t *bytes);
/* The first letter of what the kernel was told: "hold" or "long"; 0: neither. */
int tree_wish(const void *tree);
/* How many nodes say that they are a `type`: processors are "cpu". */
int tree_count(const void *tree, const char *type);
