"""Names of PCI devices from a list like pci.ids."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs.cards import pci_ids
from kernmalloc.inputs.cards.pci_ids import device_name

NUMBER = st.integers(0, 0xFFFF).map("{:04x}".format)
NAME = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=12)


@pytest.fixture(autouse=True)
def no_list_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pci_ids, "PLACES", ())


@given(st.dictionaries(NUMBER, st.dictionaries(NUMBER, NAME, max_size=4), max_size=4), NUMBER, NUMBER)
def test_a_device_is_found_under_its_maker_alone(
    tmp_path_factory: pytest.TempPathFactory, makers: dict[str, dict[str, str]], vendor: str, device: str
) -> None:
    """Not among those of other makers, nor among the cards that others made with it, nor among classes."""
    text = "# a list\n\n"
    for maker, devices in makers.items():
        text += f"{maker}  a maker\n"
        text += "".join(f"\t{number}  {name}\n\t\t{vendor} {device}  a card\n\n" for number, name in devices.items())
    text += f"C 03  Display controller\n\t{device}  no device\n"
    folder = tmp_path_factory.getbasetemp()
    (folder / "pci.ids").write_text(text)
    for maker, devices in makers.items():
        assert all(device_name(f"{maker}:{number}", folder) == name for number, name in devices.items())
    assert device_name(f"{vendor}:{device}", folder) == makers.get(vendor, {}).get(device, "")


def test_where_there_is_no_list_there_is_no_name(tmp_path: Path) -> None:
    assert device_name("10de:2684", tmp_path) == ""
    (tmp_path / "pci.ids").write_bytes(b"\xff\xfe\n10de  N\n\t2684  \xff card\n")
    assert device_name("10de:2684", tmp_path) == "\ufffd card"
