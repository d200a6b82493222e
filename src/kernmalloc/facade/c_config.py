"""A profile as C: what it says of a kernel, for the loader of that kernel to begin with.

`config.h` has two functions, of the frames of RAM that the machine has. `km_profile_config` gives a configuration with
all that the profile says; where the image, the boot area and the ranges of memory are the loader adds.
`km_profile_objects` fills in the object types.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from kernmalloc.facade.loader import configuration
from kernmalloc.kernel.boot.config import Config
from kernmalloc.lang.c.names import KEYWORDS
from kernmalloc.lang.c.text import safe

if TYPE_CHECKING:
    from kernmalloc.facade.profile import ObjectType, Profile

_HEADER = """/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What the profile {name} says of a kernel, on a machine with so many frames of RAM. */
#ifndef KERNMALLOC_CONFIG_H
#define KERNMALLOC_CONFIG_H

#include "kernmalloc.h"

#define KM_PROFILE_OBJECTS {count} /* object types */

/* A quotient of numbers that are not negative: processors of 32 bits leave a division of 64 to a library. */
static inline int64_t km_quotient(int64_t of, int64_t by)
{{
	int64_t quotient = 0, rest = 0;

	for (int bit = 62; bit >= 0; bit--) {{
		rest = rest << 1 | (of >> bit & 1);
		quotient <<= 1;
		if (rest >= by) {{
			rest -= by;
			quotient++;
		}}
	}}
	return quotient;
}}

/* A share of a number, 2 ** 62 at most. */
static inline int64_t km_share(int64_t of, int64_t times, int64_t parts)
{{
	int64_t whole = km_quotient(of, parts), rest = of - whole * parts;

	if (whole >= km_quotient((int64_t)1 << 62, times))
		return (int64_t)1 << 62;
	return whole * times + km_quotient(rest * times, parts);
}}

/* The configuration; where image, boot area and memory are is the loader's to say. */
static inline struct km_config km_profile_config(int64_t frames)
{{
	struct km_config config = km_usual_config();

{settings}
	(void)frames;
	return config;
}}

/* The object types, as many as there are, and how many of each are wanted. */
static inline void km_profile_objects(struct km_object_type *types, int64_t frames)
{{
{objects}
	(void)types;
	(void)frames;
}}

#endif
"""
_TOLD = {"version", "bytes", "cpus", "device_pages", "object_count"}  # by others, or below


def c_config(profile: Profile) -> str:
    """The text of config.h."""
    record = configuration(profile, 0)
    settings = [
        f"config.{f'{name}_' if name in KEYWORDS else name} = {_literal(int(record[name]))};"
        for name, each in Config.fields.items()
        if each.offset < Config.offset("info_bytes") and name not in _TOLD and (record[name] or name == "lenient")
    ]
    settings += [f"config.device_pages = {_device_frames(profile)};", "config.object_count = KM_PROFILE_OBJECTS;"]
    objects = [line for number in _in_order(profile) for line in _object(profile, number, profile.objects[number])]
    return _HEADER.format(
        name=safe(profile.name),
        count=len(profile.objects),
        settings="\n".join(f"\t{line}" for line in settings),
        objects="\n".join(f"\t{line}" for line in objects),
    )


def _literal(value: int) -> str:
    return f"(int64_t)0x{value % (1 << 64):x}" if value < 0 else f"0x{value:x}" if value > 9 else f"{value}"


def _device_frames(profile: Profile) -> str:
    """`Profile.device_frames` of the frames."""
    most = 1 << 40
    told = profile.device_frames(most)
    if told == profile.device_frames(0):
        return f"{told}"
    return f"frames / 8 < {told} ? frames / 8 : {told}"


def _in_order(profile: Profile) -> list[int]:
    """The numbers of the object types, each behind that of which it is a share."""
    place = {each.name: at for at, each in enumerate(profile.objects)}

    def depth(number: int) -> int:
        per = profile.objects[number].per
        return 0 if per is None else 1 + depth(place[per])

    return sorted(range(len(profile.objects)), key=depth)


def _object(profile: Profile, number: int, kind: ObjectType) -> list[str]:
    """The lines that fill in an object type: `Profile.wanted_counts` of it."""
    place = {each.name: at for at, each in enumerate(profile.objects)}
    share, of = Fraction(0), "frames"
    if kind.pages_per is not None:
        share = Fraction(1, kind.pages_per)
    elif kind.per_page is not None:
        share = Fraction(str(kind.per_page))
    elif kind.per is not None:
        share, of = Fraction(str(kind.ratio)), f"types[{place[kind.per]}].wanted"
    wanted = f"{kind.count}" if kind.count is not None else f"km_share({of}, {share.numerator}, {share.denominator})"
    return [
        f"types[{number}].bytes = {kind.size}; /* {safe(kind.name)} */",
        f"types[{number}].wanted = {wanted};",
        f"types[{number}].last = {kind.last_words};",
    ]
