"""lsmem."""

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import Machine, UnreadableError, resolve

PLAIN = """\
RANGE                                 SIZE   STATE REMOVABLE   BLOCK
0x0000000000000000-0x000000007fffffff   2G  online       yes    0-15
0x0000000100000000-0x000000047fffffff  14G  online       yes  32-143
0x0000000690000000-0x000000078fffffff   4G offline           210-241

Memory block size:       128M
Total online memory:      16G
Total offline memory:      4G
"""
OTHERS = (
    "\n".join(  # as s390-tools had it
        [
            "Address Range                          Size (MB)  State    Removable  Device",
            "===============================================================================",
            "0x0000000000000000-0x000000007fffffff       2048  online   no         0-15",
            "0x0000000100000000-0x000000047fffffff      14336  online   yes        32-143",
            "0x0000000690000000-0x000000078fffffff       4096  offline  -          210-241",
        ]
    ),
    "\n".join(  # -P
        [
            'RANGE="0x0000000000000000-0x000000007fffffff" SIZE="2G" STATE="online" REMOVABLE="yes" BLOCK="0-15"',
            'RANGE="0x0000000100000000-0x000000047fffffff" SIZE="14G" STATE="online" REMOVABLE="yes" BLOCK="32-143"',
            'RANGE="0x0000000690000000-0x000000078fffffff" SIZE="4G" STATE="offline" REMOVABLE="" BLOCK="210-241"',
        ]
    ),
    '{\n   "memory": [\n'  # -J
    '      {"range": "0x0000000000000000-0x000000007fffffff", "size": "2G", "state": "online", "block": "0-15"},\n'
    '      {"range": "0x0000000100000000-0x000000047fffffff", "size": "14G", "state": "online", "block": "32-143"},\n'
    '      {"range": "0x0000000690000000-0x000000078fffffff", "size": "4G", "state": "offline", "block": "210-241"}\n'
    "   ]\n}\n",
    '{\n   "memory": [\n'  # -J since 2.38
    + ",".join(
        f'{{\n         "range": "{where}",\n         "size": "{size}",\n         "state": "{state}",\n'
        f'         "removable": true,\n         "block": "0-1"\n      }}'
        for where, size, state in (
            ("0x0000000000000000-0x000000007fffffff", "2G", "online"),
            ("0x0000000100000000-0x000000047fffffff", "14G", "online"),
            ("0x0000000690000000-0x000000078fffffff", "4G", "offline"),
        )
    )
    + "\n   ]\n}\n",
)


def machine(text: str) -> Machine:
    return resolve(read_bytes(text.encode(), "lsmem")[-1])


@pytest.mark.parametrize("text", [PLAIN, "".join("> " + line for line in PLAIN.splitlines(True)), *OTHERS])
def test_online_is_ram_and_offline_is_told(text):
    found = machine(text)
    assert [(r.base, r.end) for r in found.ram] == [(0, 0x80000000), (0x100000000, 0x480000000)]
    assert [(r.base, r.end, r.name) for r in found.firmware] == [(0x690000000, 0x790000000, "offline memory")]


def test_nothing_online():
    with pytest.raises(UnreadableError, match="without RAM"):
        machine("RANGE SIZE STATE\n0x0000000000000000-0x000000007fffffff 2G offline\n")
