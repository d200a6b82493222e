"""What stands before the lines of a printed map makes no difference."""

import pytest
from collection import DATA

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import resolve

FIELD = DATA / "field"
FORMS = sorted(
    path.name
    for number in ("08", "11", "16", "18", "20", "22", "36", "46", "x08", "x10")
    for path in FIELD.glob(f"{number}-*")
)
PREFIXES = [line[1:-1] for line in (FIELD / "prefixes.txt").read_text().splitlines() if line[:1] == "'"]
OTHERS = [
    "\x1b[36m[12:34:56]\x1b[0m ",
    "screen: ",
    "> > ",
    "| ",
    "[INFO ]  ",
    "<14>1 2024-05-01T10:11:12Z host app - - - ",
    "+1.250s  ",
]


def test_a_map_in_a_mail_as_it_was_sent() -> None:
    text = (FIELD / "46-grub-lsmmap.txt").read_text()
    mail = "Content-Transfer-Encoding: quoted-printable\n\n" + text.replace("=", "=3D").replace(
        "reserved", "reser=\nved"
    )
    sent, plain = (resolve(read_bytes(t.encode(), "map")[-1]) for t in (mail, text))
    assert [(r.base, r.size) for r in sent.ram] == [(r.base, r.size) for r in plain.ram]
    assert [(r.base, r.kind) for r in sent.firmware] == [(r.base, r.kind) for r in plain.firmware]


@pytest.mark.parametrize("prefix", [*PREFIXES, *OTHERS, *(f"{p}[    0.000000] " for p in PREFIXES)])
@pytest.mark.parametrize("name", FORMS)
def test_prefixes(name: str, prefix: str) -> None:
    text = (FIELD / name).read_text()
    plain = resolve(read_bytes(text.encode(), "plain")[-1])
    stamped = "".join(prefix + line + "\n" for line in text.splitlines())
    found = resolve(read_bytes(stamped.encode(), "stamped")[-1])
    assert (found.ram, found.firmware, found.origin) == (plain.ram, plain.firmware, plain.origin)
