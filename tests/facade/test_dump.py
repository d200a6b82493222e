"""Kernels in dumps: found in every form, opened as what they were, and going on as they would have."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import dump_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_machines import MIB, MODES, conserved, machine, poke

from kernmalloc import Kernel, Profile
from kernmalloc.facade import dump
from kernmalloc.facade.dump import NoKernelError
from kernmalloc.facade.errors import OutOfMemory
from kernmalloc.inputs.dumps import Dump
from kernmalloc.inputs.errors import InputError
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.lang import failed
from kernmalloc.machine.lives import LifeError, WindowBusy

FORMS = {
    "raw": dump_files.raw,
    "later": lambda kernel, path: dump_files.raw(kernel, path, MIB),
    "guest memory": dump_files.guest_memory,
    "guest memory, 32 bits": lambda kernel, path: dump_files.guest_memory(kernel, path, 340, 32),
    "guest memory, aligned": lambda kernel, path: dump_files.guest_memory(kernel, path, dump_files.PAGE - 64 - 3 * 56),
    "process": dump_files.process,
}


OPENED = ["eros2", "x86_64", "coyotos-coldfire", "guest", "frames", "i386", "armv7", "aarch64", "riscv64"]


def boot(mode="soft", profile="eros2", cpus=1, size=8 * MIB):
    more = 12 * MIB if profile == "x86_64" else 0  # its window alone takes 5 MiB of tables
    return Kernel.boot(machine((MIB, size + more)), Profile.load(profile), mode, cpus=cpus)


def use(kernel: Kernel, seed: int, count: int = 150, held: list[int] | None = None) -> tuple[list[int], list[int]]:
    """Allocate and free by a seed: what is held then, and the results in order."""
    draw, held, results = random.Random(seed), [] if held is None else list(held), []
    for _ in range(count):
        cpu = kernel.cpu(draw.randrange(int(kernel.layout["cpus"])))
        if held and draw.random() < 0.4:
            results.append(cpu.call("free", held.pop(draw.randrange(len(held)))))
            assert results[-1] == 0
        else:
            results.append(cpu.call("malloc", draw.choice((16, 100, 1000, 5000, 70000))))
            held += [results[-1]] if not failed(results[-1]) else []
        results.append(cpu.call("frame_get", draw.choice((3, 4))))
        if draw.random() < 0.5 and not failed(results[-1]):
            results.append(cpu.call("frame_put", results[-1]))
    return held, results


def same(a: dict[int, bytes], b: dict[int, bytes]) -> bool:
    """The same memory."""
    return dict(a) == dict(b)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "profile", ["eros2", "x86_64", "coyotos-coldfire", "guest", "frames", "i386", "armv7", "aarch64", "riscv64"]
)
def test_what_is_opened_is_what_was_dumped(tmp_path, form, profile):
    with boot(profile=profile, cpus=2) as kernel:
        use(kernel, 1)
        path = FORMS[form](kernel, tmp_path / "dump")
        before, content = kernel.snapshot(), path.read_bytes()
        with Kernel.open(path) as opened:
            assert same(opened.snapshot(), before)
            profile = opened.profile
            assert (profile.mode, profile.strategy) == (kernel.profile.mode, kernel.profile.strategy)
            assert profile.name == (kernel.profile.name if kernel.profile.objects else "kernel")  # known by its objects
            assert opened.mode == "soft" and opened.frames_by_type() == kernel.frames_by_type()
            assert [r.base for r in opened.machine.ram] == [MIB] and opened.regions == kernel.regions
            assert [(c.name, c.used, c.wanted) for c in opened.caches] == [
                (c.name, c.used, c.wanted) for c in kernel.caches
            ]
            conserved(opened)
            assert opened.check() == kernel.check()
        assert path.read_bytes() == content


@pytest.mark.parametrize("profile", ["eros2", "guest"])
@pytest.mark.parametrize("first", ["raw", "soft"])
@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=2)
@given(seed=st.integers(0, 1 << 32))
def test_it_goes_on_as_it_would_have(tmp_path_factory, profile, first, mode, seed):
    """In every mode: what is opened and used ends in the state of the kernel that was dumped, used likewise."""
    if (profile, first, mode) == ("guest", "soft", "raw"):
        pytest.skip("its direct map is in the high half")
    with boot(first, profile, cpus=2) as kernel:
        held, _ = use(kernel, seed)
        path = dump_files.raw(kernel, tmp_path_factory.mktemp("dump") / "dump")
        _, results = use(kernel, seed + 1, held=held)
        conserved(kernel)
        after = kernel.snapshot()
    with Kernel.open(path, mode=mode) as opened:
        assert use(opened, seed + 1, held=held)[1] == results
        conserved(opened)
        assert same(opened.snapshot(), after)


def test_ram_that_came_after_the_boot_is_there(tmp_path):
    with boot("raw") as kernel:
        kernel.add_ram(64 * MIB, 4 * MIB)
        path = dump_files.raw(kernel, tmp_path / "dump")
        with Kernel.open(path, mode="soft") as opened:
            conserved(opened)
            opened.add_ram(80 * MIB, MIB)
            conserved(opened)
            assert opened.frames_by_type()["free"] > kernel.frames_by_type()["free"]


def test_a_snapshot_and_a_table_of_an_opened_kernel(tmp_path):
    """What it writes is its own: snapshots hold it, and go back; tables are copies."""
    with boot() as kernel:
        path = dump_files.raw(kernel, tmp_path / "dump")
    with Kernel.open(path) as opened:
        before = opened.snapshot()
        pfn = opened.frame_get("dma")
        assert opened.frames[pfn]["type"] == 4
        opened.malloc(5 * MIB)
        opened.restore(before)
        assert same(opened.snapshot(), before) and opened.frame_type(pfn) == "free"


HOST = """
import sys
from kernmalloc import Kernel, Machine, Profile
from small_machines import MIB, machine
kernel = Kernel.boot(machine((MIB, 8 * MIB)), Profile.load("eros2"), sys.argv[1])
print(kernel.malloc(100), kernel.heap.used, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_a_process_that_runs(mode):
    """/proc/PID/mem: its RAM is read as the file that it is, without what is only kept for more."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])}
    command = [sys.executable, "-c", HOST, mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as host:
        va, used = map(int, host.stdout.readline().split())
        with Kernel.open(f"/proc/{host.pid}/mem") as opened:
            assert opened.size_of(va) == 112 and opened.heap.used == used
            conserved(opened)
        host.stdin.close()
    with pytest.raises(InputError, match=f"^/proc/{host.pid}/mem: No such file"):
        Kernel.open(f"/proc/{host.pid}/mem")


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("gcore") is None, reason="gcore is not installed: apt-get install gdb")
@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_a_core_that_gdb_writes(mode, tmp_path):
    """It has the RAM, in mode raw also what the window shows of it, and no terabyte that is kept for more."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])}
    command = [sys.executable, "-c", HOST, mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as host:
        va, used = map(int, host.stdout.readline().split())
        subprocess.run(["gcore", "-o", tmp_path / "core", str(host.pid)], check=True, capture_output=True)
        host.stdin.close()
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size < 4 << 30
    with Kernel.open(path) as opened:
        assert opened.size_of(va) == 112 and opened.heap.used == used
        conserved(opened)


def test_several_kernels_are_listed_and_one_is_chosen(tmp_path):
    """Two machines side by side in one file; each by its place."""
    with boot() as one, boot(profile="x86_64") as other:
        other.malloc(100)
        path = dump_files.raw(one, tmp_path / "dump")
        with open(path, "r+b") as file:
            for at, page in dump_files.pieces(other):
                file.seek(32 * MIB + at)
                file.write(page)
            file.truncate(32 * MIB + other.view.ram.top)
        with Dump.open(path) as both:
            found = dump.kernels(both)
        assert [each.own for each in found] == [one.view.kern_va, other.view.kern_va]
        with pytest.raises(NoKernelError, match=rf"2 kernels \(choose by --at: one at {found[0].pa:#x}; one at"):
            Kernel.open(path)
        with Kernel.open(path, at=found[0].pa) as opened:
            assert opened.profile.name == "eros2"
            conserved(opened)
        with Kernel.open(path, at=found[1].address) as opened:
            assert opened.profile.name == "x86_64"
            conserved(opened)
        with pytest.raises(NoKernelError, match=r"no kernel at 0x1 \(there is one at"):
            Kernel.open(path, at=1)


def test_a_copy_of_the_record_is_no_kernel(tmp_path):
    """The page of the record in somebody's frame is one that nothing leads to."""
    with boot() as kernel:
        pfn = kernel.frame_get("dma")
        page = int(kernel.handle.loaded.kern_pa) // 4096 * 4096
        kernel.view.ram.bytes[pfn * 4096 : pfn * 4096 + 4096] = kernel.view.ram.bytes[page : page + 4096]
        path = dump_files.raw(kernel, tmp_path / "dump")
        with Dump.open(path) as it:
            assert sorted(each.why != "" for each in dump.kernels(it)) == [False, True]
        with Kernel.open(path) as opened:
            assert opened.view.kern_va == kernel.view.kern_va
        with pytest.raises(NoKernelError, match=r"no kernel that can be opened: one at .*, what its loader told it"):
            Kernel.open(path, at=pfn * 4096)


def test_one_bit_of_a_bitmap(tmp_path):
    with boot() as kernel:
        region = next(r for r in kernel.view.regions() if r["area"])
        word = kernel.view.pa(int(region["words"])) + 100
        path = dump_files.raw(kernel, tmp_path / "dump")
    data = bytearray(path.read_bytes())
    data[word] ^= 4
    path.write_bytes(data)
    with Kernel.open(path) as opened:
        check = opened.check()
        assert not check.passed and check.failure.startswith("Region at 0x")
        assert "does not hold" in check.failure


def test_a_kernel_that_crashed_inside(tmp_path):
    """Who is inside never leaves: it can be looked at and checked, and no call waits for it."""
    with boot("soft", cpus=2) as kernel:
        view, cpu = kernel.view, kernel.cpu(1).processor
        poke(view, kernel.view.kern_va + Kern.offset("lock"), (2).to_bytes(4, "little"))
        poke(view, cpu + 12, (1).to_bytes(4, "little"))  # depth
        path = dump_files.raw(kernel, tmp_path / "dump")
    with Kernel.open(path) as opened:
        check = opened.check()
        assert not check.passed and ("lock == 0" in check.failure or "depth == 0" in check.failure)
        for call in (lambda: opened.malloc(100), lambda: opened.cpu(1).frame_get(), lambda: opened.thread()):
            with pytest.raises(LifeError, match=r": processor 1 was inside the kernel when it was dumped, for good"):
                call()
        assert opened.heap.used and opened.frames_by_type()


def test_a_dump_that_ends_too_early(tmp_path):
    """What lacks pages of the kernel is refused; what lacks only frames that are free is not."""
    with boot() as kernel:
        highest = int(kernel.view.mapped().max())
        whole = dump_files.raw(kernel, tmp_path / "whole")
        for cut in (0, MIB, kernel.handle.loaded.kern_pa + 64, highest):
            short = tmp_path / "short"
            short.write_bytes(whole.read_bytes()[:cut])
            with pytest.raises(NoKernelError):
                Kernel.open(short)
        lacks = rf"the dump lacks .* of this kernel's RAM, first {highest:#x}-0x8fffff, and with it \d pages"
        with pytest.raises(NoKernelError, match=lacks):
            Kernel.open(short)


def test_frames_without_a_page_of_the_kernel_may_lack(tmp_path):
    with Kernel.boot(machine((MIB, 8 * MIB), (32 * MIB, 16 * MIB)), Profile.load("eros2"), "soft") as kernel:
        lowest = 32 * MIB  # its heap is in the highest range
        path = dump_files.core(tmp_path / "dump", [(lowest, 0, kernel.view.ram.bytes[lowest : kernel.view.ram.top]),
                                                   (MIB, 0, kernel.view.ram.bytes[MIB : 8 * MIB])])  # fmt: skip
        with Dump.open(path) as it:
            assert dump.missing(it, dump.chosen(it, None)) == [(8 * MIB // 4096, 9 * MIB // 4096)]
        with Kernel.open(path) as opened:
            assert opened.check().passed


@pytest.mark.parametrize(
    "field, value, why",
    [
        ("version", 2, "made by another kernmalloc; this one reads version 1, layout"),
        ("layout", 1, "made by another kernmalloc"),
        ("magic", int.from_bytes(b"lamk", "little"), "made for a machine whose numbers begin with the highest byte"),
        ("info", 0, "what its loader told it is not in front of it"),
    ],
)
def test_kernels_that_cannot_be_opened_are_told(tmp_path, field, value, why):
    with boot() as kernel:
        size = Kern.fields[field].size
        if field == "magic":
            for name in ("magic", "version", "layout", "address"):
                at = kernel.handle.loaded.kern_pa + Kern.offset(name)
                part = slice(at, at + Kern.fields[name].size)
                kernel.view.ram.bytes[part] = kernel.view.ram.bytes[part][::-1]
        else:
            poke(kernel.view, kernel.view.kern_va + Kern.offset(field), value.to_bytes(size, "little"))
        path = dump_files.raw(kernel, tmp_path / "dump")
    with pytest.raises(NoKernelError, match=f"no kernel that can be opened: one at 0x[0-9a-f]+, {why}"):
        Kernel.open(path)


@pytest.mark.parametrize(
    "content, advice",
    [
        (b"", "its memory has no mark of one"),
        (b"\x1f\x8b" + bytes(100), "compressed by gzip: unpack it"),
        (b"KDUMP   " + bytes(100), "a dump in kdump's own form"),
        (b"\x7fELF" + bytes(100), "an ELF file, but no core"),
    ],
)
def test_files_of_other_things(tmp_path, content, advice):
    path = tmp_path / "dump"
    path.write_bytes(content)
    with pytest.raises(NoKernelError, match=rf"^{path}: no kernel found \({advice}"):
        Kernel.open(path)


def test_what_cannot_be_mapped(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path / "pipe", "no file that can be mapped"),
        (tmp_path, "Is a directory"),
        ("/dev/null", "no file"),
    ):
        with pytest.raises(InputError, match=f"^{path}: {why}"):
            Kernel.open(path)


def test_the_window_of_mode_raw(tmp_path):
    """It is where it was, or nowhere: not while another kernel has it, and not in the high half."""
    with boot("raw") as kernel:
        path = dump_files.raw(kernel, tmp_path / "dump")
        with pytest.raises(WindowBusy, match=r"that of kernel eros2 on '.*', booted at .*: close it, or use mode soft"):
            Kernel.open(path, mode="raw")
    with Kernel.open(path, mode="raw") as opened:
        conserved(opened)
    with boot("soft", "x86_64") as kernel:
        path = dump_files.raw(kernel, tmp_path / "dump")
    with pytest.raises(LifeError, match="no mode 'hosted'"):
        Kernel.open(path, mode="hosted")
    with pytest.raises(LifeError, match="is nowhere that a process can have it: use mode soft"):
        Kernel.open(path, mode="raw")


def test_a_large_dump_is_not_read(tmp_path):
    """64 GiB of which little is there: mapped, with its holes."""
    with Kernel.boot(machine((MIB, 16 * MIB)), Profile.load("x86_64"), "soft") as kernel:
        path = dump_files.raw(kernel, tmp_path / "dump")
    os.truncate(path, 64 << 30)
    with Kernel.open(path) as opened:
        conserved(opened)
        taken = os.fstat(opened.view.ram.fd).st_blocks * 512
        assert taken < 64 << 10  # what was written to is the file's pages, copied
    assert path.stat().st_blocks * 512 < 32 * MIB


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A core of guest memory: its path, its content, where the record is in memory."""
    with boot(size=4 * MIB) as kernel:
        path = dump_files.guest_memory(kernel, tmp_path_factory.mktemp("dump") / "dump")
        return path, path.read_bytes(), kernel.handle.loaded.kern_pa


@settings(max_examples=40)
@given(data=st.data())
def test_damaged_dumps_end_in_a_line(small, data):
    """Any bytes changed anywhere: it opens or is refused, and whoever looks at it sees no other exception."""
    path, content, kern = small
    shift = 64 + 3 * 56 + 356
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(
            st.integers(0, 300)
            | st.integers(shift + kern - 0x20000, shift + kern + Kern.size)
            | st.integers(0, len(content) - 8)
        )
        changed[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8) | st.just(bytes(8)))
    path.write_bytes(bytes(changed[: data.draw(st.just(len(changed)) | st.integers(0, len(changed)))]))
    try:
        with Kernel.open(path) as opened:
            opened.check()
    except (InputError, LifeError, OutOfMemory) as error:
        assert "\n" not in str(error)
