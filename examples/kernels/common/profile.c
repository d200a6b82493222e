/* What its profile says of a kernel, on the machine that the loader tells of; and what gcc calls for that. */
#include "config.h"
#include "kernel.h"

struct km_config *profile_config(void)
{
	static struct km_config config;
	static struct km_object_type objects[KM_PROFILE_OBJECTS + 1];
	int64_t frames = memory_frames(km_profile_config(0).max_pfn);

	config = km_profile_config(frames);
	km_profile_objects(objects, frames);
	config.objects = objects;
	return &config;
}

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
