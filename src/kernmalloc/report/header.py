"""Plans as a C header: constants of the worst machine, and assertions by which a build ends that no longer fits.

The header stands alone, for C from C99 on, C++ from C++11 on, and assemblers. Behind kernmalloc.h it holds that the
records are those that were planned with.
"""

import re
from collections.abc import Iterator, Sequence

from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.kernel.heap.caches import scaled
from kernmalloc.plan.conditions import MEASURES, Condition, shown
from kernmalloc.plan.plan import Plan

HEAD = """\
/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* {what}
 * Made by: {line}
 * Bytes, unless a comment says otherwise; of several machines the worst. */
#ifndef KM_PLAN_H
#define KM_PLAN_H
"""
ASSERT = """
#ifndef __ASSEMBLER__
#if defined(__cplusplus)
#define KM_PLAN_ASSERT(holds, why) static_assert(holds, why)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define KM_PLAN_ASSERT(holds, why) _Static_assert(holds, why)
#else
#define KM_PLAN_JOINED(a, b) a##b
#define KM_PLAN_NAMED(line) KM_PLAN_JOINED(km_plan_assert_, line)
#define KM_PLAN_ASSERT(holds, why) typedef char KM_PLAN_NAMED(__LINE__)[(holds) ? 1 : -1]
#endif
/* KM_PLAN_HOLDS(NODE, struct node): the type has as many bytes as it was planned with. */
#define KM_PLAN_HOLDS(NAME, type) \\
    KM_PLAN_ASSERT(sizeof(type) == KM_PLAN_##NAME##_BYTES, #type " is not as large as planned")
"""


def header(
    profile: Profile,
    plans: Sequence[Plan],
    refused: Sequence[tuple[str, str]],
    conditions: Sequence[Condition],
    line: str,
) -> str:
    """The header of plans of one kernel; of machines that it does not fit, with the reasons, and of conditions, by
    which a build ends. `line` is the command that made it."""
    return "\n".join(_lines(profile, plans, refused, conditions, line)) + "\n"


def _lines(
    profile: Profile,
    plans: Sequence[Plan],
    refused: Sequence[tuple[str, str]],
    conditions: Sequence[Condition],
    line: str,
) -> Iterator[str]:
    names = ", ".join(_name(plan) for plan in plans) or "no machine"
    yield HEAD.format(
        what=_comment(f"Kernel {profile.name}, strategy {profile.strategy}, on {names}"), line=_comment(line)
    )
    for name, reason in refused:
        yield f'#error "kernmalloc plan: {_text(f"{name}: {reason}")}"'
    if plans:
        yield from _constants(profile, plans)
        yield ASSERT
        yield from _assertions(plans, conditions)
        yield "#endif"
    yield "#endif"


def _constants(profile: Profile, plans: Sequence[Plan]) -> Iterator[str]:
    yield _define("PAGE", profile.page, "a frame")
    yield _define("WINDOW", profile.va.size, "the kernel's window")
    for name, measure in MEASURES.items():
        value = measure.worst(measure.of(plan) for plan in plans)
        unit = "" if measure.unit == "bytes" else f" ({measure.unit})"
        yield _define(_macro(name), value, measure.meaning + unit)
    counts = [plan.profile.wanted_counts(plan.frames) for plan in plans]
    for kind in profile.objects:
        least = min(
            scaled(count[kind.name], round(plan.scale * 65536)) for count, plan in zip(counts, plans, strict=True)
        )
        yield _define(f"{_macro(kind.name)}_BYTES", kind.size, f"one {kind.name}")
        yield _define(f"{_macro(kind.name)}_COUNT", least, "how many of them there may be (objects)")
    yield _define("LAYOUT", Kern.layout, "the number of the layout of the kernel's records")


def _assertions(plans: Sequence[Plan], conditions: Sequence[Condition]) -> Iterator[str]:
    yield "#ifdef KERNMALLOC_H"
    yield 'KM_PLAN_ASSERT(KM_LAYOUT == KM_PLAN_LAYOUT, "planned with another kernmalloc: plan again");'
    yield "#endif"
    yield "#ifdef KM_IMAGE_BYTES"
    yield 'KM_PLAN_ASSERT(KM_IMAGE_BYTES <= KM_PLAN_IMAGE, "the kernel\'s image has outgrown its profile");'
    yield "#endif"
    for condition in conditions:
        worst = [plan for plan in plans if condition.holds(plan)] or list(plans)
        value = MEASURES[condition.name].of(worst[0])
        why = _text(f"{condition} on {_name(worst[0])}: {shown(condition.name, value)}")
        yield f'KM_PLAN_ASSERT(!({value} {condition.operator} {condition.value}), "{why}");'


def _define(name: str, value: int, meaning: str) -> str:
    return f"{f'#define KM_PLAN_{name} {value}':<44} /* {_comment(meaning)} */"


def _name(plan: Plan) -> str:
    return plan.machine.name or plan.machine.file


def _macro(name: str) -> str:
    """A name as one of C's."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _comment(text: str) -> str:
    """Text that ends no comment."""
    return _text(text).replace("*/", "* /").replace("/*", "/ *")


def _text(text: str) -> str:
    """Text that ends neither a string nor a line."""
    return re.sub(r'[\\"]', "'", " ".join(text.split()).encode("ascii", "replace").decode()).replace("??", "? ?")
