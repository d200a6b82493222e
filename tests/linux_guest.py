"""Debian's Linux in a guest of QEMU, to which RAM is added while it runs.

Its kernel and busybox are packages of Debian, which apt loads into a folder; nothing is installed. What cannot be had
skips the test, and says why. A guest tells its boot log, and what is free after each step.
"""

import io
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from kernmalloc.emulate.example import Running, _monitor
from kernmalloc.machine.memory_map import Machine

KERNEL = "linux-image-cloud-amd64"  # which depends on the kernel of the day
BUSYBOX = "busybox-static"
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin; export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys
blocks() { grep -l online /sys/devices/system/memory/memory*/state | wc -l; }
facts() {
  echo 3 > /proc/sys/vm/drop_caches; cat /proc/sys/vm/stat_refresh
  echo facts $(awk '/MemTotal/ {print $2}' /proc/meminfo) \\
    $(awk '/pages free|count:/ {pages += $NF} END {print 4 * pages}' /proc/zoneinfo) $(blocks)
}
dmesg; facts
while read want; do until [ $(blocks) -ge $want ]; do sleep 1; done; sleep 1; facts; done
"""
REFUSED = re.compile("add_memory failed|deadlocked on memory")  # drivers/acpi/acpi_memhotplug.c, mm/oom_kill.c


class Facts(NamedTuple):
    """What a guest says, in bytes: RAM that it manages, what of it is free; its memory blocks."""

    total: int
    free: int
    blocks: int


class Software(NamedTuple):
    """A kernel and an initial ramdisk, and the kernel's version."""

    kernel: Path
    initrd: Path
    version: str


def software(folder: Path) -> Software:
    """What a guest runs, loaded into a folder."""
    for tool in ("apt-get", "dpkg", "qemu-system-x86_64"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    told = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Depends: (linux-image-\S+)", told)
    if found is None:
        pytest.skip(f"apt knows no {KERNEL}")
    done = subprocess.run(["apt-get", "download", found[1], BUSYBOX], cwd=folder, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"apt cannot load {found[1]} and {BUSYBOX}")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True)
    (kernel,) = folder.glob("boot/vmlinuz-*")
    initrd = folder / "initrd"
    initrd.write_bytes(_archive((folder / "bin" / "busybox").read_bytes()))
    return Software(kernel, initrd, kernel.name.removeprefix("vmlinuz-"))


def _archive(busybox: bytes) -> bytes:
    """A ramdisk in cpio's form "newc" (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    folder, program = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    files = [(name, folder, b"") for name in ("bin", "dev", "proc", "sys")]
    files += [("bin/busybox", program, busybox), ("init", program, INIT.encode())]
    archive = b"".join(_file(name, mode, data) for name, mode, data in files)
    return archive + _file("dev/console", stat.S_IFCHR | 0o600, b"", device=(5, 1)) + _file("TRAILER!!!", 0, b"")


def _file(name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = "070701" + "".join(f"{each:08X}" for each in fields) + name + "\0"
    return b"".join(part + bytes(-len(part) % 4) for part in (head.encode(), data))


class Guest(Running):
    """A guest that has booted; `log` is what it said until then, `machine` what that tells, `facts` what was free."""

    def __init__(self, runs: Software, folder: Path, memory: int, options: str) -> None:
        memory_option = f"{memory >> 20}M,slots=128,maxmem=16G"
        line = f"console=ttyS0 quiet panic=-1 {options}"
        command = [
            "qemu-system-x86_64",
            "-accel",
            "tcg",
            "-m",
            memory_option,
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
        ]
        super().__init__([*command, "-kernel", str(runs.kernel), "-initrd", str(runs.initrd), "-append", line], folder)
        self._lines, self._log, self._plugged = self.lines(), list[str](), 0
        self.facts = self._facts()
        self.machine = Machine.read_stream(io.BytesIO("\n".join(self._log).encode()), "guest")

    def plug(self, size: int) -> Facts | None:
        """Plug in a DIMM of so many bytes: what is free then; None: Linux cannot add it."""
        name = f"dimm{self._plugged}"
        self._plugged += 1
        with _monitor(self._monitor) as ask:
            ask("object-add", **{"qom-type": "memory-backend-ram", "id": f"{name}-ram", "size": size})
            ask("device_add", driver="pc-dimm", id=name, memdev=f"{name}-ram")
        self.send(f"{self.facts.blocks + (size >> 27)}\n")
        found = self._facts()
        if found:
            self.facts = found
        return found

    def _facts(self) -> Facts | None:
        """What it says next of itself; None: it refuses RAM, or lacks it and gives up."""
        for line in self._lines:
            if REFUSED.search(line):
                return None
            if line.startswith("facts "):
                total, free, blocks = map(int, line.split()[1:])
                return Facts(total << 10, free << 10, blocks)
            self._log.append(line)
        pytest.fail(f"the guest has ended: {self._log[-1:]}")
