"""Advice as data: every refusal has a setting that a plan proves, or a reason; and a table holds it."""

import msgspec
import pytest
from heap_model import effort
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, machine

from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES, Profile
from kernmalloc.inputs.facts import Device
from kernmalloc.machine.memory_map import Machine, Range
from kernmalloc.plan.advice import IN_BYTES, KNOWN_TO, advise, cure, tuned
from kernmalloc.plan.advised import Advised, Flat, advised
from kernmalloc.plan.plan import plan, with_strategy
from kernmalloc.results.tables import table

GIB = 1 << 30


def window(base, size):
    return Device(base=base, size=size, name=f"{base:x}", bar=-1, status="assigned", line=0)


def units(page, settings):
    """Each setting that is a number, and one unit less of it, beside the others."""
    for name, value in settings.items():
        step = page if name in IN_BYTES else 1
        if not isinstance(value, str) and value >= step:
            yield name, {**settings, name: value - step}, {**settings, name: value + step}


@st.composite
def asked(draw):
    """A machine with devices that fit, that are too large, above the limit or over RAM; a kernel with more or less set
    aside; RAM that comes later, some of it where other RAM is."""
    ram = [(MIB, draw(st.integers(4, 128)) * MIB)]
    windows = draw(st.lists(st.sampled_from([1, 16, 256, 4096]), max_size=3))
    devices = [window(GIB * (4 + 8 * at), MIB * size) for at, size in enumerate(windows)]
    if draw(st.booleans()):
        devices.append(draw(st.sampled_from([window(2 * MIB, MIB), window(1 << 51, MIB), window(3 * GIB, 4096)])))
    kernel = Profile.load(draw(st.sampled_from(Profile.shipped())))
    profile = with_strategy(kernel, draw(st.sampled_from(list(STRATEGIES))))
    settings = {}
    for name, most in (("device-frames", 1 << 22), ("device-ranges", 1 << 16), ("excess", GIB), ("growable", GIB)):
        if profile.strategy in KNOWN_TO[name] and draw(st.booleans()):
            settings[name] = draw(st.integers(0, most))
    later = draw(st.sampled_from([(), ((64 * GIB, GIB),), ((64 * GIB, 8 * GIB), (3 * MIB, MIB)), ((32 * GIB, 4096),)]))
    computer = replace(machine(*ram), devices=tuple(devices))
    return computer, tuned(profile, settings), tuple(Range(base, size, "ram") for base, size in later)


@effort(0.06)
@given(asked())
@example((machine((MIB, 2 * MIB)), Profile.load("eros2"), ()))
@example((Machine.shipped("desktop-16g"), Profile.load("frames"), (Range(64 * GIB, GIB, "ram"),)))
def test_C16_every_refusal_has_a_proved_setting_or_a_reason(asked):
    """C15, C16, E39: a machine that cannot hold a kernel, a range that does not fit, RAM that cannot be added: each has
    a setting with which a plan says that it fits, and of which one unit less, or more, is refused; or a reason."""
    computer, profile, more = asked
    try:
        made = plan(computer, profile, more)
    except TooSmall:
        advice = cure(computer, profile, more)
        if advice.proof is None:
            assert advice.reason and not advice.settings
            for strategy in STRATEGIES:
                with pytest.raises(TooSmall):
                    plan(computer, with_strategy(profile, strategy), more)
            return
        assert plan(computer, tuned(profile, advice.settings), more).top == advice.proof.top
        for _, _, larger in units(profile.page, advice.settings):
            with pytest.raises(TooSmall):
                plan(computer, tuned(profile, larger), more)
        return
    advice = advise(made)
    data = advised(made, advice, "the line")
    refused = [each for each in (*made.devices, *made.added) if each.status not in ("fits", "added")]
    assert (data is None) == (not refused)
    if data is None:
        assert advice is None
        return
    assert msgspec.json.decode(msgspec.json.encode(data), type=Advised) == data
    proved = bool(data.settings)
    assert (data.proof is not None, bool(data.line), data.flat.proved) == (proved, proved, proved)
    helped = [each for each in refused if proved and advice.helps(each)]
    assert proved == bool(helped) and bool(data.reason) == (len(helped) < len(refused))
    if not proved:
        return
    again = plan(computer, tuned(profile, data.settings), more)
    good = {(each.base, each.size) for each in (*again.devices, *again.added) if each.status in ("fits", "added")}
    assert {(each.base, each.size) for each in helped} <= good
    now, then = data.proof.before, data.proof.after
    assert (then.heap, then.available) == (again.top, again.available) and (now.heap, now.available) == (
        made.top,
        made.available,
    )
    assert then.fits + then.added == len(good) > now.fits + now.added or advice.beyond
    for name, smaller, _ in units(made.page, data.settings):
        try:
            less = plan(computer, tuned(profile, smaller), more)
        except TooSmall:
            continue
        bad = {each.base for each in (*less.devices, *less.added) if each.status not in ("fits", "added")}
        assert any(each.base in bad for each in (*again.devices, *again.added) if (each.base, each.size) in good), name


def test_a_table_of_a_fleet_holds_it():
    """Columns that do not depend on what a machine was told: the option, its number, whether it is proved."""
    told = [
        Advised({"device-frames": 8, "device-ranges": 2}, line="kernmalloc boot"),
        Advised({"strategy": "static", "excess": 4096}),
        Advised({}, reason="ends above the limit"),
    ]
    made = table(Flat, [each.flat for each in told])
    assert made.schema == table(Flat, []).schema
    assert made.to_pydict() == {
        "setting": ["device-frames", "strategy", ""],
        "value": [8, 0, 0],
        "strategy": ["", "static", ""],
        "options": ["--device-frames 8 --device-ranges 2", "--strategy static --excess 4096", ""],
        "proved": [False, False, False],
        "reason": ["", "", "ends above the limit"],
    }
