"""Guests of QEMU: OVMF places everything in the hole that is told, where the proof has it, and not with a step less."""

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from kernmalloc.fleet.hole import LOW_HOLE, STEP, need, proof
from kernmalloc.fleet.hole_options import options
from kernmalloc.inputs.facts import Bridge, Device, Range
from kernmalloc.machine.memory_map import Machine

QEMU = shutil.which("qemu-system-x86_64")
OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
SHORT = 1  # GiB of RAM of a guest in which all is below 4 GiB
PATIENCE = 120  # seconds

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not QEMU, reason="no qemu-system-x86_64 (Debian's package qemu-system-x86)"),
    pytest.mark.skipif(not OVMF.exists(), reason=f"no {OVMF} (Debian's package ovmf)"),
]

_FUNCTION = re.compile(r"Bus +(\d+), device +(\d+), function (\d+):")
_REGISTER = re.compile(r"BAR(\d): (32|64) bit (prefetchable )?memory at 0x([0-9a-f]+) \[0x([0-9a-f]+)\]")
_WINDOW = re.compile(r"(?:prefetchable )?memory range \[0x([0-9a-f]+), 0x([0-9a-f]+)\]")
_BUSES = re.compile(r"secondary bus (\d+)\.\s+subordinate bus (\d+)\.")


def booted(folder: Path, ram: int, cards: list[list[int]], *arguments: str) -> str:
    """What QEMU's monitor says of PCI once firmware has placed what it can, with RAM and registers of cards in GiB."""
    listens = folder / "monitor"
    listens.unlink(missing_ok=True)
    command = [QEMU, "-M", "q35,accel=tcg", "-m", f"{ram}G", "-nodefaults", "-display", "none", *arguments]
    command += ["-qmp", f"unix:{listens},server,nowait", "-device", "pci-testdev"]
    for number, registers in enumerate(cards):
        command += ["-device", f"pcie-root-port,id=port{number},chassis={number},slot={number}"]
        for function, gib in enumerate(registers):
            place = f"bus=port{number},addr=0.{function},multifunction=on"
            command += ["-device", f"pci-testdev,{place},membar={gib}G"]
    guest = subprocess.Popen(command)
    try:
        while not listens.exists():
            assert guest.poll() is None
            time.sleep(0.1)
        return _settled(listens)
    finally:
        guest.kill()
        guest.wait()


def _settled(listens: Path) -> str:
    """The monitor's answer once it has not changed for four seconds and the device on the root bus has its place."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(listens))
        stream = connection.makefile("rw")
        stream.readline()

        def said(name: str, **arguments: str) -> str:
            stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
            stream.flush()
            while "return" not in (answer := json.loads(stream.readline())):
                assert "error" not in answer, answer
            return answer["return"]

        said("qmp_capabilities")
        text, same = "", 0
        for _ in range(PATIENCE):
            before, text = text, said("human-monitor-command", **{"command-line": "info pci"})
            placed = [d for d in machine(text).devices if d.name.startswith("0000:00:") and d.base >= LOW_HOLE.base]
            same = same + 1 if text == before and any(d.end < 1 << 32 for d in placed) else 0
            if same == 4:
                return text
            time.sleep(1)
    raise AssertionError("firmware does not come to an end")


def machine(text: str, ram: int = SHORT) -> Machine:
    """The machine that the monitor tells of, with so many GiB of RAM."""
    devices, bridges, name = [], [], ""
    for part in re.split(r"(?=Bus +\d+, device)", text)[1:]:
        bus, slot, function = map(int, _FUNCTION.match(part).groups())
        name = f"0000:{bus:02x}:{slot:02x}.{function}"
        bridges += [Bridge(name, int(first), int(last)) for first, last in _BUSES.findall(part)]
        for bar, bits, prefetch, base, last in _REGISTER.findall(part):
            first = int(base, 16)
            size = (int(last, 16) + 1 - first) % (1 << 64)
            devices.append(Device(first, size, name=name, bar=int(bar), bits=int(bits), prefetch=bool(prefetch)))
    told = (Range(0, ram * STEP, "ram"),)
    return Machine(name="guest", file="", ram=told, devices=tuple(devices), bridges=tuple(bridges))


def places(text: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Base and size of every register, and of every window of a bridge that is not closed."""
    windows = [(int(base, 16), int(last, 16) + 1 - int(base, 16)) for base, last in _WINDOW.findall(text)]
    return sorted((d.base, d.size) for d in machine(text).devices), sorted(w for w in windows if w[1] > 0)


@pytest.mark.parametrize(
    ("ram", "cards", "gib"),
    [(SHORT, [[512], [128]], 640), (9, [[4, 1], [4, 2]], 13), (SHORT, [[4, 1], [4, 1], [1, 1, 1]], 16)],
    ids=str,
)
def test_ovmf_places_everything_in_the_least_hole_and_not_in_a_smaller(tmp_path, ram, cards, gib):
    """What is there is told by SeaBIOS's boot, which has no setting, and places everything above RAM."""
    there = machine(booted(tmp_path, ram, cards), ram)
    assert all(d.base >= 1 << 32 for d in there.devices if d.size >= STEP)
    found = need(there)
    assert found.least == gib * STEP
    for aperture, whole in ((found.least, True), (found.least - STEP, False)):
        placement = proof(there, found.least)
        told = options(aperture, placement.aperture.end, 0, 0)
        firmware = f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF}"
        words = [*told.qemu.split(), *told.ovmf.split(), *told.model.split()]
        registers, windows = places(booted(tmp_path, ram, cards, "-drive", firmware, *words))
        expected = sorted((p.base, p.size) for p in placement.placed if not p.window)
        assert (registers == expected) == whole
        if whole:
            assert windows == sorted((p.base, p.size) for p in placement.placed if p.window)
        else:
            end = 1 << 63  # a register without a place has all bits set
            assert any(base > end for base, _ in registers)
