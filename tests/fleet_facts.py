"""The table that fleets are generated from, counted anew from the machines of the collection.

`python tests/fleet_facts.py` writes src/kernmalloc/fleet/distributions.json; tests/fleet/test_generate.py holds it.
"""

import gzip
import json
from collections import Counter, defaultdict
from itertools import pairwise

from collection import DATA, ROOT

TABLE = ROOT / "src/kernmalloc/fleet/distributions.json"
FLEET = DATA / "fleet/machines.jsonl.gz"
SOURCE = "counted from 4,151 machines of bsd-hardware.info, CC-BY-4.0"
SMALL = {"Convertible": "Notebook", "Tablet": "Notebook", "All In One": "Desktop"}
"""Types of which there are too few, and those that they are counted with."""
MUCH = 16 << 30  # bytes of RAM from which desktops and notebooks are kinds of their own: large cards are there


def kind(machine: dict) -> tuple[str, str]:
    """Name and architecture of a machine's kind: PCs by what they are, others by their architecture."""
    arch = {"X86_64": "AMD64"}.get(machine["arch"], machine["arch"])
    name = SMALL.get(machine["type"], machine["type"]) if arch == "AMD64" else arch
    return ("Large " if name in ("Desktop", "Notebook") and machine["ram"] >= MUCH else "") + name, arch


def functions(machine: dict) -> dict[str, Counter[str]]:
    """The PCI functions of a machine as shapes, by class (two digits)."""
    registers = defaultdict(list)
    for place, code, offset, form, bits, base, size in bars(machine):
        assert size & (size - 1) == 0
        text = f"{offset}{form[0].lower()}{bits}.{size.bit_length() - 1}{'' if base else '!'}"
        registers[place, code].append(text)
    found = defaultdict(Counter)
    for (place, code), texts in registers.items():
        behind = "" if place.split(":")[1] == "0" else "-"
        found[code[:2]][" ".join([code + behind, *texts])] += 1
    return found


def above(machine: dict) -> int:
    """Where a machine's registers above 4 GiB begin, in units of 256 MiB; 0 if there are none."""
    bases = [base for *_, base, _ in bars(machine) if base >= 1 << 32]
    return min(bases, default=0) >> 28


def shares(machine: dict) -> bool:
    """Whether two windows of a machine share a page, of which neither lies in the other."""
    windows = sorted((base, base + size) for *_, form, bits, base, size in bars(machine) if base)
    return any(start >= end and start >> 12 == (end - 1) >> 12 for (_, end), (start, _) in pairwise(windows))


def bars(machine: dict) -> list[tuple]:
    """The registers of memory: place, class, offset, type, bits, base, size."""
    return [tuple(bar[:7]) for bar in machine["bars"] if "Memory" in bar[3] and bar[4] in (32, 64)]


def table() -> dict:
    with gzip.open(FLEET) as lines:
        machines = [machine for machine in map(json.loads, lines) if machine["ram"]]
    shapes = Counter()
    for machine in machines:
        machine["functions"] = functions(machine)
        shapes.update(shape for found in machine["functions"].values() for shape in found)
    numbers = {shape: number for number, (shape, _) in enumerate(sorted(shapes.items(), key=lambda s: (-s[1], s[0])))}
    kinds = defaultdict(list)
    for machine in machines:
        kinds[kind(machine)].append(machine)
    bases = Counter(above(machine) for machine in machines if above(machine) and machine["arch"] == "AMD64")
    return {
        "source": SOURCE,
        "shapes": list(numbers),
        "above": {str(base): count for base, count in sorted(bases.items()) if count > 1},
        "kinds": [
            {
                "name": name,
                "arch": arch,
                "machines": len(members),
                "above": sum(above(member) > 0 for member in members),
                "shared": sum(map(shares, members)),
                "ram": counts(str(member["ram"] >> 20) for member in members),
                "classes": classes(members, numbers),
            }
            for (name, arch), members in sorted(kinds.items())
        ],
    }


def counts(values) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda value: (-value[1], value[0])))


def classes(members: list[dict], numbers: dict[str, int]) -> dict[str, dict[str, int]]:
    """What the functions of a class are on a machine, as numbers of shapes, and on how many machines."""
    codes = sorted({code for member in members for code in member["functions"]})

    def bundle(found: Counter[str]) -> str:
        told = sorted((numbers[shape], count) for shape, count in found.items())
        return " ".join(f"{number}*{count}" if count > 1 else str(number) for number, count in told)

    return {code: counts(bundle(member["functions"].get(code, Counter())) for member in members) for code in codes}


def text() -> str:
    """The table as it is shipped."""
    return json.dumps(table(), separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n"


if __name__ == "__main__":
    TABLE.write_text(text())
