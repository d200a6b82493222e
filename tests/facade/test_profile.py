"""Profiles: what is shipped, what is refused and in which words, and how many objects the ratios ask for."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small_machines import conserved

from kernmalloc import Kernel, Machine
from kernmalloc.facade.profile import ENTRY, SHIPPED, Bytes, Profile, ProfileError
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.arch import FORMATS
from kernmalloc.plan.plan import plan
from kernmalloc.sim.scenario import Scenario

GIB = 1 << 30
FRAMES_64_GIB = 64 * GIB // 4096

SMALL = """
name = "small"
summary = "for tests"
arch = "i386-pae"
phys_bits = 36
strategy = "demand"
[va]
base = 0xC0000000
size = "1 GiB"
windows = "4 MiB"
[image]
base = "1 MiB"
size = "2 MiB"
[core]
stride = 16
[[objects]]
name = "node"
size = 556
per_page = 1.0
[[objects]]
name = "process"
size = 800
pages_per = 25
[[objects]]
name = "gpt"
size = 316
per = "process"
ratio = 6
[[objects]]
name = "cpu"
size = 64
count = 4
"""


@pytest.mark.parametrize("name", Profile.shipped())
def test_shipped_profiles_load_under_their_own_name(name):
    profile = Profile.load(name)
    assert profile.name == name
    assert profile.summary
    assert profile.core.stride >= ENTRY


def test_shipped_profiles_are_kernels_of_their_own_and_two_guests():
    kernels = [name for name in Profile.shipped() if not Profile.load(name).direct]
    assert kernels == [
        *("aarch64", "armv7", "coyotos-coldfire", "coyotos-i386", "eros", "eros2"),
        *("i386", "linux-x86_64", "riscv64", "x86_64"),
    ]
    assert sorted(set(Profile.shipped()) - set(kernels)) == ["frames", "guest"]


def test_linux_has_64_bytes_a_page_in_large_pages_and_names_no_page():
    """What Linux says of itself: struct page has 64 bytes, vmemmap has room for all of 2^46 bytes, a fixed share of RAM
    are hashes, and a table of large pages maps each GiB."""
    profile = Profile.load("linux-x86_64")
    assert profile.va.size == (1 << profile.phys_bits) // 4096 * profile.core.stride
    assert profile.wanted_counts(FRAMES_64_GIB) == {"dentry-hash": 1 << 14, "inode-hash": 1 << 13, "page-table": 64}
    made = plan(Machine.shipped("desktop-16g"), profile)
    items = {item.name: item.bytes for item in made.items}
    assert items["core table entries"] == made.frames * 64
    assert items["page identities"] == items["page cache"] == 0
    assert made.affine_share == 1.0


def test_E2_the_static_baseline_is_shipped():
    assert Profile.load("eros").strategy == "static"
    assert Profile.load("eros2").strategy == "demand"


def test_E3_E4_eros2_has_36_bits_of_physical_memory_and_less_than_a_gib_of_window():
    profile = Profile.load("eros2")
    assert profile.phys_bits == 36
    assert profile.va.size <= GIB - 256 * (1 << 20)
    assert profile.va.base + profile.va.size == 1 << 32


@pytest.mark.parametrize("name", ["i386", "armv7"])
def test_E3_eros_2_on_other_tables_of_32_bits_is_eros_2(name):
    """Sizes of objects follow from words of 32 bits; only a process has other registers. All its window is above what a
    process maps, and it reaches all that its tables reach."""
    eros2, profile = Profile.load("eros2"), Profile.load(name)
    format = FORMATS[profile.arch]
    sizes = {kind.name: kind.size for kind in profile.objects if kind.name != "process"}
    assert sizes == {kind.name: kind.size for kind in eros2.objects if kind.name != "process"}
    assert profile.wanted_counts(FRAMES_64_GIB) == eros2.wanted_counts(FRAMES_64_GIB)
    assert (profile.core, profile.bank, profile.strategy) == (eros2.core, eros2.bank, eros2.strategy)
    assert profile.phys_bits == format.phys_bits == 32
    assert format.user_end <= profile.va.base and profile.va.base + profile.va.size <= 1 << 32


@pytest.mark.parametrize("name", ["aarch64", "riscv64"])
def test_E3_eros_2_in_64_bits_is_the_same_everywhere(name):
    """As x86_64, but for the registers of a process; in the half of the addresses that is the kernel's."""
    x86, profile = Profile.load("x86_64"), Profile.load(name)
    format = FORMATS[profile.arch]
    sizes = {kind.name: kind.size for kind in profile.objects if kind.name != "process"}
    assert sizes == {kind.name: kind.size for kind in x86.objects if kind.name != "process"}
    assert profile.wanted_counts(FRAMES_64_GIB) == x86.wanted_counts(FRAMES_64_GIB)
    assert (profile.core, profile.bank, profile.heap) == (x86.core, x86.bank, x86.heap)
    assert profile.va.base >= (1 << 64) - (1 << format.va_bits - 1)
    assert not set(profile.machines) & set(x86.machines)


def test_E40_one_node_per_page():
    counts = Profile.load("eros2").wanted_counts(FRAMES_64_GIB)
    assert counts["node"] == FRAMES_64_GIB
    assert counts["depend"] * 33 / counts["node"] == pytest.approx(10, rel=1e-3)  # entries, in buckets of 33


def test_coyotos_needs_30_percent_of_ram_as_heap():
    """REQUIREMENTS, "What the descendants left undone": 30.4 % of RAM, page headers for the pages left included."""
    profile, frames = Profile.load("coyotos-i386"), 1 << 20
    counts = profile.wanted_counts(frames)
    objects = sum(counts[kind.name] * kind.size for kind in profile.objects)
    headers = 0.61 * frames * profile.core.stride
    assert (objects + headers) / (frames * 4096) == pytest.approx(0.304, abs=0.002)


@pytest.mark.parametrize("name", Profile.shipped())
def test_every_figure_carries_its_source(name):
    """Each table of a shipped profile has a comment that says where its numbers come from."""
    tables = re.split(r"^\[+", (SHIPPED / f"{name}.toml").read_text(), flags=re.MULTILINE)[1:]
    assert [table.split("]")[0] for table in tables if "#" not in table and "ratio" not in table] in ([], ["core"])


def test_counts_are_exact_whatever_the_machine():
    profile = Profile.parse(SMALL)
    assert profile.wanted_counts(0) == {"node": 0, "process": 0, "gpt": 0, "cpu": 4}
    assert profile.wanted_counts(249) == {"node": 249, "process": 9, "gpt": 54, "cpu": 4}
    tenth = Profile.parse(SMALL.replace("per_page = 1.0", "per_page = 0.1"))
    assert tenth.wanted_counts(10**17)["node"] == 10**16


@pytest.mark.parametrize(
    ("text", "number"),
    [("1 GiB", GIB), ("64KiB", 1 << 16), ("0xC0000000", 0xC0000000), ("0", 0), ("12 B", 12), ("1_000", 1000), (7, 7)],
)
def test_byte_counts_are_numbers_or_text(text, number):
    assert Bytes.parse(text) == number


@pytest.mark.parametrize("text", ["1.5 GiB", "-1", "GiB", "", "0x", 1.5, True, -4096, [1]])
def test_what_is_no_byte_count_is_refused(text):
    with pytest.raises(ValueError):
        Bytes.parse(text)


MORE = '[[objects]]\nname = "x"\nsize = 8\ncount = 1\n'

REFUSALS = [
    ("phys_bits = 36", "phys_bits = 36\ncolour = 1", "colour: unknown key"),
    ('windows = "4 MiB"', 'windows = "4 MiB"\ntop = 1', "va.top: unknown key (known here: base, size, windows"),
    ("size = 556", "size = 556\nweight = 1", "objects[0].weight: unknown key"),
    ("phys_bits = 36\n", "", "phys_bits: missing"),
    ("base = 0xC0000000\n", "", "va.base: missing"),
    ("stride = 16", 'stride = "16 bytes"', "core.stride: '16 bytes': not a size"),
    ("size = 556", 'size = "big"', "objects[0].size: "),
    ('"i386-pae"', '"vax"', "arch: unknown architecture 'vax' (known: i386-pae, x86_64, coldfire, none, i386, "),
    ('"i386-pae"', '"none"', "arch: none has no page tables, which mode owner writes (mode = 'guest')"),
    (
        'arch = "i386-pae"',
        'arch = "i386-pae"\nmode = "host"',
        "mode: unknown mode 'host' (known: owner, guest, shadow, frames)",
    ),
    (
        'arch = "i386-pae"',
        'arch = "i386-pae"\npage_bytes = 4096',
        "page_bytes: pages of i386-pae have 4096 bytes",
    ),
    ('"demand"', '"hope"', "strategy: unknown strategy 'hope'"),
    ("phys_bits = 36", "phys_bits = 64", "phys_bits: 64 is not possible"),
    ("base = 0xC0000000", "base = 0xC0100000", "va.base: 0xc0100000 is not a multiple of a large page"),
    ('size = "1 GiB"', 'size = "1025 MiB"', "va.size: 0x40100000 is not a multiple of a large page"),
    ('size = "1 GiB"', "size = 0", "va.size: the window is empty"),
    ('size = "1 GiB"', 'size = "2 GiB"', "va.size: the window ends at 0x140000000, beyond 32 bits (at most 0x4000"),
    ("base = 0xC0000000", "base = 0", "va.base: 0, where null references lead (from 0x200000 on)"),
    (
        "base = 0xC0000000",
        'base = "0xffff800000000000"',
        "va.base: 0xffff800000000000 is beyond 32 bits, and i386-pae has no more (such as 0xc0000000)",
    ),
    ("base = 0xC0000000", "base = 0x1_0000_0000_0000_0000", "va.base: 0x10000000000000000: 2^64 or more"),
    ("base = 0xC0000000", "base = 0xC0000000\nhosted_base = 0", "va.hosted_base: 0x0 to 0x40000000 cannot be mapped"),
    ('size = "1 GiB"', "size = 0x8000_0000_0000_0000", "va.size: 0x8000000000000000: 2^63 or more"),
    ('size = "1 GiB"', 'size = "99999999 PiB"', "va.size: '99999999 PiB': not a size: 2^64 bytes or more"),
    ('windows = "4 MiB"', "windows = 0", "va.windows: 0 is not a multiple of a page, 4096, with room for 8"),
    ('windows = "4 MiB"', 'windows = "28 KiB"', "va.windows: 28672 is not a multiple of a page, 4096, with room for 8"),
    ('windows = "4 MiB"', 'windows = "1 GiB"', "va.windows: image and windows leave nothing"),
    ('base = "1 MiB"', 'base = "64 GiB"', "image: ends at 0x1000200000, above the limit of 36 phys_bits"),
    ('base = "1 MiB"', "base = 4097", "image: base 0x1001 and size 0x200000 are not whole pages"),
    ("stride = 16", "stride = 8", "core.stride: 8 is not possible"),
    ("stride = 16", "stride = 44", "core.stride: 44 is not possible"),
    ("stride = 16", "stride = 16\nheader = 44", "core.header: 44 bytes do not fit a stride of 16 (stride = 48)"),
    ("stride = 16", "stride = 16\nidentity = 4", "core.identity: 4 is not possible"),
    ("stride = 16", "stride = 16\n[heap]\ngrowth_frames = 0", "heap.growth_frames: "),
    ("stride = 16", "stride = 16\n[heap]\ngrowth_frames = 1_000_000", "heap.growth_frames: one step is larger"),
    ("stride = 16", "stride = 16\n[heap]\nidle_frames = 15", "heap.idle_frames: 15 is not possible (from one growth"),
    ("stride = 16", f"stride = 16\n[heap]\nidle_frames = {1 << 38}", "to the virtual window, 262144)"),
    ("stride = 16", "stride = 16\n[hotadd]\nblock = 0", "hotadd.block: 0 is not a multiple of a large page, 2097152"),
    ("stride = 16", 'stride = 16\n[hotadd]\nblock = "3 MiB"', "(128 MiB, as Linux has it)"),
    (
        'arch = "i386-pae"',
        'arch = "none"\nmode = "guest"\nhotadd = {block = "128 MiB"}',
        "hotadd: mode guest has no large pages",
    ),
    ('name = "gpt"', 'name = "node"', "objects.node: declared twice"),
    ("size = 556", "size = 556\nalign = 24", "objects.node.align: 24 is not a power of two"),
    ("size = 556", "size = 556\nalign = 64", "objects.node.size: 556 is not a multiple of align, 64 (size = 576)"),
    ("size = 556", "size = 0", "objects[0].size: "),
    ("size = 556", "size = 2_000_000_000", "objects.node.size: 2000000000 bytes are too many"),
    ("per_page = 1.0", "", "objects.node: says how many in 0 ways: none"),
    ("per_page = 1.0", "per_page = 1.0\ncount = 3", "objects.node: says how many in 2 ways: per_page, count"),
    ("per_page = 1.0", "per_page = 0.0", "objects[0].per_page: "),
    ("per_page = 1.0", "per_page = inf", "objects[0].per_page: "),
    ("per_page = 1.0", "per_page = nan", "objects[0].per_page: "),
    ("ratio = 6", "", "objects.gpt: per and ratio go together"),
    ('per = "process"', 'per = "person"', "objects.gpt.per: unknown object type 'person'"),
    ("pages_per = 25", 'per = "gpt"\nratio = 2', "goes in a circle"),
    ('per = "process"', 'per = "gpt"', "objects.gpt.per: goes in a circle: gpt per gpt"),
    ('name = "small"', 'name = "Small kernel"', "name: "),
    ("[core]", "[core", "not TOML"),
    ("[[objects]]", f"{MORE * 99}[[objects]]", "objects: 103 types are too many"),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSALS)
def test_contradictions_are_refused_by_name(old, new, said):
    assert old in SMALL
    with pytest.raises(ProfileError) as caught:
        Profile.parse(SMALL.replace(old, new, 1), "small.toml")
    text = str(caught.value)
    assert re.match(r"small\.toml(:\d+)?: ", text) and said in text
    assert "\n" not in text


def test_frames_have_numbers_that_the_kernel_has():
    """An entry of RISC-V holds 56 bits of an address, and the kernel has frames up to 2^40."""
    text = SMALL.replace('"i386-pae"', '"riscv64-sv39"')
    with pytest.raises(ProfileError, match=r"phys_bits: 56 is not possible on riscv64-sv39 \(20 to 52\)"):
        Profile.parse(text.replace("phys_bits = 36", "phys_bits = 56"))
    assert Profile.parse(text.replace("phys_bits = 36", "phys_bits = 52")).phys_bits == 52


def test_a_high_half_window_is_one_of_its_architecture():
    text = (SHIPPED / "x86_64.toml").read_text()
    with pytest.raises(ProfileError, match=r"va\.base: .* is not canonical"):
        Profile.parse(text.replace("0xffff888000000000", "0x0fff888000000000"))
    with pytest.raises(ProfileError, match=r"va\.hosted_base: .* cannot be mapped in a process"):
        Profile.parse(text.replace("0x100000000000", "0x7fff00000000"))
    last = text.replace("0xffff888000000000", "0xffffffff80000000")
    with pytest.raises(
        ProfileError, match=r"va\.size: the window contains the last page .*\(let it end at 0xffffffffffe00000\)"
    ):
        Profile.parse(last.replace('"512 GiB"', '"2 GiB"'))
    assert Profile.parse(last.replace('"512 GiB"', '"2046 MiB"')).va.size == 0x7FE00000


WORDS = st.integers(0, 66).flatmap(lambda bits: st.integers(-2, 2).map(lambda near: max(0, (1 << bits) + near)))
"""What addresses and sizes may be: near a power of two, in 64 bits and beyond."""


@given(arch=st.sampled_from(sorted(FORMATS)), base=WORDS, length=WORDS, windows=WORDS, hosted=st.none() | WORDS)
@example("i386-pae", 0xFFFF_8000_0000_0000, 1 << 30, 1 << 22, None)
@example("x86_64", (1 << 64) - (1 << 21), 1 << 21, 1 << 15, None)
def test_what_a_refusal_advises_is_not_negative(arch, base, length, windows, hosted):
    """Whatever the window, it is a kernel or is refused in one line, whose addresses and sizes are none below zero."""
    window = f"base = {base}\nsize = {length}\nwindows = {windows}\n"
    window += "" if hosted is None else f"hosted_base = {hosted}\n"
    text = re.sub(r"base = 0xC0000000\n.*\n.*\n", window, SMALL.replace("i386-pae", arch), count=1)
    assert window in text
    try:
        Profile.parse(text)
    except ProfileError as error:
        assert "\n" not in str(error) and not re.search(r"-0x|(?<!\w)-\d", str(error)), str(error)


def test_ratios_of_ratios_end_where_no_window_could_hold_more():
    """A chain of ratios asks for more objects than a machine can count: the kernel is told as many as it can, and
    scales them down to what its window holds."""
    chain = "".join(
        f'[[objects]]\nname = "n{i}"\nsize = 16\nper = "{f"n{i - 1}" if i else "node"}"\nratio = 1e6\n'
        for i in range(9)
    )
    profile = Profile.parse(SMALL + chain)
    assert max(profile.wanted_counts(1 << 34).values()) == 1 << 62
    with Kernel.boot(Machine.shipped("desktop-16g"), profile, "soft") as kernel:
        assert 0 < kernel.scale < 1
        conserved(kernel)


def test_a_profile_is_loaded_by_name_or_by_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(SMALL)
    assert Profile.load(file) == Profile.load(str(file)) == Profile.parse(SMALL)
    with pytest.raises(ProfileError, match=r"nobody: no such profile \(shipped are aarch64, .*, eros2, .*, x86_64; or"):
        Profile.load("nobody")
    with pytest.raises(ProfileError, match=r"absent\.toml: No such file"):
        Profile.load(tmp_path / "absent.toml")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match=r"mine\.toml:1: not text"):
        Profile.load(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"x = {'9' * 4301}", "a number of 4,301 digits"),
        (f"[core]\nstride = 0x{'f' * 5000}", ":2: a number of 5,000 digits"),
        (f"x = {'[' * 5000}{']' * 5000}", "nested too deeply"),
        (f"{'a.' * 5000}b = 1", "more than 64 levels of nesting"),
        ('name = "' + "x" * 20_000_000 + '"', "more than 16 MiB of TOML"),
    ],
)
@pytest.mark.parametrize("what", [Profile, Scenario])
def test_bombs_are_refused_by_size(what, text, said, tmp_path):
    file = tmp_path / "bomb.toml"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        what.load(file)
    assert said in str(refused.value) and len(str(refused.value)) < 700 and "\n" not in str(refused.value)


@pytest.mark.parametrize("what", [Profile, Scenario])
def test_a_file_without_an_end_is_refused(what):
    with pytest.raises(InputError, match="/dev/zero: more than 16 MiB of TOML"):
        what.load("/dev/zero")
