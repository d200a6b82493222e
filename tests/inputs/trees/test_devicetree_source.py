"""Device-tree sources: read where dtc is, else told in one line; what is not whole is told, too."""

import os
import shutil
import time
from pathlib import Path

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.trees import devicetree_source
from kernmalloc.machine.memory_map import resolve

BOARD = """\
/* A board, as
   its maker wrote it. */
/dts-v1/;
/ {
\t#address-cells = <1>;
\t#size-cells = <1>;
\tmodel = "A board";  // of "somebody"
\tmemory { device_type = "memory"; reg = <0x00200000 0x3fe00000>; };
\tpartitions { logo { name = "logo"; }; };
\tserial@f0000000 { reg = <0xf0000000 0x100>; };
};
"""
needs_dtc = pytest.mark.skipif(not shutil.which("dtc"), reason="dtc (device-tree-compiler) is not installed")


def refusal(text: str) -> str:
    with pytest.raises(UnreadableError) as caught:
        read_bytes(text.encode(), "board.dts")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("head", [BOARD, BOARD.replace("/dts-v1/;\n", ""), "/dts-v1/; /plugin/;\n", "  /  {\n};"])
def test_what_is_a_source(head):
    assert devicetree_source.recognises(head)


@pytest.mark.parametrize("head", ['name = "a"\n', "// {\n", "path/ {\n", "BIOS-e820: x\n", "/dts-v2/;\n"])
def test_what_is_none(head):
    assert not devicetree_source.recognises(head)


@needs_dtc
def test_a_source_is_read():
    machine = resolve(read_bytes(BOARD.encode(), "board.dts")[0])
    assert (machine.name, machine.origin) == ("A board", "device tree")
    assert [(r.base, r.size) for r in machine.ram] == [(0x200000, 0x3FE00000)]
    assert [(d.name, d.base, d.size) for d in machine.devices] == [("serial@f0000000", 0xF0000000, 0x100)]


@needs_dtc
def test_what_dtc_does_not_take_is_told_with_its_line():
    text = refusal(BOARD.replace("0x3fe00000>", "SIZE>"))
    assert text.startswith("board.dts:8: a device-tree source that dtc does not take: ")


def test_without_dtc_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "")
    text = refusal(BOARD)
    assert "dtc, which compiles it, is not installed (dtc -O dtb -o board.dtb FILE makes board.dtb of it" in text


@pytest.mark.parametrize(
    "script, reason",
    [
        ("exit 3", "does not take: status 3"),
        ("kill -SEGV $$", "does not take: status -11"),
        ("echo 'Error: <stdin>:8.5-9 syntax error' >&2; exit 1", "board.dts:8: a device-tree source that dtc does"),
        ("echo 'FATAL ERROR: Unable to parse' >&2; exit 1", "does not take: FATAL ERROR: Unable to parse"),
        ("head -c 3", "not a device tree that can be read"),
        ("exec sleep 60", "on which dtc fails"),
    ],
)
def test_whatever_dtc_does_there_is_one_line(monkeypatch, tmp_path, script, reason):
    fake = Path(tmp_path / "dtc")
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(devicetree_source, "SECONDS", 1)
    assert reason in refusal(BOARD)


@pytest.mark.parametrize(
    "text, reason",
    [
        ('/dts-v1/;\n#include "am33xx.dtsi"\n/ {\n};\n', "board.dts:2: a device-tree source with #include: not whole"),
        ('/dts-v1/;\n/include/ "a.dtsi"\n/ {\n};\n', "board.dts:2: a device-tree source with /include/: not whole"),
        ('/dts-v1/;\n/ {\n a = /incbin/("/dev/zero");\n};\n', "board.dts:3: a device-tree source with /incbin/"),
        (
            '/dts-v1/;\n/ {\n b = "//"; a = /incbin/("/dev/zero");\n};\n',
            "board.dts:3: a device-tree source with /incbin/",
        ),
        ("#define SIZE 3\n/ {\n};\n", "board.dts:1: a device-tree source with #define"),
        ("/dts-v1/;\n/plugin/;\n&uart { };\n", "an overlay, which changes another device tree"),
        (BOARD + " " * (2 << 20), "more than 2 MiB of device tree"),
    ],
)
def test_what_is_not_whole_is_told(text, reason):
    assert reason in refusal(text)


def test_comments_and_strings_include_nothing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "is not installed" in refusal("/*\n#include <a.h>\n*/\n" + BOARD.replace("A board", "/include/"))


@pytest.mark.parametrize("piece", ["/*", '"', "'", "//", "/*\n", "\\", "/", "{ "])
def test_a_source_takes_linear_time(monkeypatch, piece):
    monkeypatch.setenv("PATH", "")
    start = time.process_time()
    refusal("/dts-v1/;\n" + piece * (1_000_000 // len(piece)))
    assert time.process_time() - start < 2
