"""The options name the hole in the unit of each program."""

from pci_machines import GIB, MIB, cards, machine

from kernmalloc.fleet.hole import proof
from kernmalloc.fleet.hole_options import options, room_behind_bridges


def test_each_option_is_written_as_its_program_reads_it():
    found = options(64 * GIB, 128 * GIB, 33 * GIB, 2 * MIB)
    assert found.qemu == "-global q35-pcihost.pci-hole64-size=64G"
    assert found.i440fx == "-global i440FX-pcihost.pci-hole64-size=64G"
    assert found.ovmf == "-fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=65536"
    assert found.model == "-cpu max,phys-bits=37"
    assert found.cloud_hypervisor == "--cpus boot=1,max_phys_bits=38"  # what is kept at the top is beyond 37 bits
    assert found.linux == "pci=realloc,hpmmioprefsize=33792M,hpmmiosize=2M"


def test_the_room_behind_bridges_is_that_of_the_longest_windows():
    placements = [proof(cards([32, 1]), 64 * GIB), proof(cards([8], [4]), 64 * GIB)]
    assert room_behind_bridges(placements) == (33 * GIB, 2 * MIB)
    assert room_behind_bridges([proof(machine(), 0)]) == (MIB, MIB)
