"""coreboot's memory table."""

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import resolve

TABLE = """\
Writing coreboot table at 0x7ab34000
   0. 0000000000000000-0000000000000fff: CONFIGURATION TABLES
   1. 0000000000001000-000000000009ffff: RAM
   2. 00000000000a0000-00000000000fffff: RESERVED
   3. 0000000000100000-000000000fffffff: RAM
   4. 0000000010000000-00000000121fffff: PAYLOAD
   5. 0000000012200000-00000000122fffff: RAMSTAGE
   6. 0000000012300000-00000000123fffff: ACPI
   7. 0000000012400000-00000000124fffff: BL31
   8. 0000000012500000-00000000125fffff: type 17
  10. 0000000100000000-000000017fffffff: RAM
  Graphics framebuffer located at 0xb0000000
"""


@pytest.mark.parametrize("prefix", ["", "[DEBUG]  ", "> ", "[   12.345] ", "2024-01-01 00:00:00 coreboot: "])
def test_a_table(prefix):
    found = resolve(read_bytes("".join(prefix + line for line in TABLE.splitlines(True)).encode(), "cbmem")[-1])
    assert [(r.base, r.end) for r in found.ram] == [
        (0x1000, 0xA0000),
        (0x100000, 0x12300000),
        (0x100000000, 0x180000000),
    ]
    assert [(r.base, r.kind) for r in found.firmware] == [
        (0, "nvram"),
        (0xA0000, "reserved"),
        (0x12300000, "nvram"),
        (0x12400000, "reserved"),
        (0x12500000, "reserved"),
    ]
    assert not (found.problems or found.missing or found.unread)


def test_the_last_table_counts_and_a_damaged_line_is_told():
    late = TABLE.replace("000000017fffffff: RAM", "00000001ffffffff: RAM").replace("3. 0000000000100000-0", "3. 000#")
    boots = read_bytes((TABLE + late).encode(), "cbmem")
    assert [resolve(boot).ram[-1].end for boot in boots] == [0x180000000, 0x200000000]
    assert not resolve(boots[0]).unread
    assert 0x100000 not in [r.base for r in resolve(boots[1]).ram]
