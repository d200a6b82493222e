/* What gcc calls on its own for what a struct begins with, or is a copy of. */
#include <stddef.h>

void *memset(void *at, int value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((unsigned char *)at)[i] = (unsigned char)value;
	return at;
}

void *memcpy(void *to, const void *of, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((unsigned char *)to)[i] = ((const unsigned char *)of)[i];
	return to;
}
