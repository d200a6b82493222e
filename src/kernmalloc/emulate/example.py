"""An example kernel: where it is, how it is built, and the machine that QEMU makes for it.

Concepts
  1. An example is a folder with a Makefile that includes `common/kernel.mk`. `make` builds it for people and here; its
     targets `tools`, `command` and `profile` tell what that takes, how it is run, and which profile describes it to a
     simulation: one in its folder, one by its name, or none, and its calls cannot be done again.
  2. A machine runs until its kernel says its status. Its console is read line by line; what is written goes to its
     serial port. One that says nothing for a while is ended.
  3. A kernel that is told `hold` waits at one point, with a magazine half full: it says `held`, and goes on with the
     next character. There its memory can be dumped. Told `long`, its processors work side by side until a character.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.sizes import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PLACES = (
    Path(__file__).parents[3] / "examples" / "kernels",  # a checkout
    Path(sys.prefix) / "share" / "doc" / "kernmalloc" / "examples" / "kernels",
)
PACKAGES = {
    "make": "make",
    "rustc": "rustc",
    "x86_64-linux-gnu-gcc": "gcc",
    "riscv64-linux-gnu-gcc": "gcc-riscv64-linux-gnu",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "m68k-linux-gnu-gcc": "gcc-m68k-linux-gnu",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-riscv64": "qemu-system-misc",
    "qemu-system-m68k": "qemu-system-misc",
}
"""A tool, and Debian's package that has it."""

SILENCE = 300  # seconds without a line, after which a machine is ended
LEAST = 16 << 20  # bytes of memory: with less a PC's firmware starts no kernel
HOLD, LONG = "hold", "long"
HELD = "held"


class MissingTool(InputError):
    """A tool is not installed; the advice names its package."""


class Example:
    """The example kernel in a folder. InputError: there is none."""

    def __init__(self, name: str) -> None:
        folders = [Path(name), *(place / name for place in PLACES)]
        found = [folder for folder in folders if (folder / "Makefile").is_file()]
        if not found:
            known = sorted({path.parent.name for place in PLACES for path in place.glob("*/Makefile")})
            raise InputError(name, 0, "no such example kernel", f"one of {', '.join(known)}; or a folder like theirs")
        self.folder = found[0].resolve()

    @property
    def profile(self) -> Path | str | None:
        """What describes the kernel to a simulation, a file or a name; None: it tells no calls that could be done
        again. MissingTool."""
        told = self._told("profile", Path())
        file = self.folder.joinpath(*told)
        return file if file.is_file() else told[0] if told else None

    def build(self, into: Path) -> None:
        """Build it in a folder. MissingTool; InputError, with the first error, where make fails."""
        for tool in ("make", *self._told("tools", into)):
            if shutil.which(tool) is None:
                raise MissingTool(str(self.folder), 0, f"{tool} is not installed", f"apt install {PACKAGES[tool]}")
        self._make("all", into)

    def command(self, into: Path, memory: int | None = None, cpus: int | None = None, wish: str = "") -> list[str]:
        """What runs the kernel that was built in a folder: memory in bytes; None is as its Makefile says. `wish` is
        what it is told: HOLD, LONG, nothing. InputError: its machine cannot be had like that."""
        if memory is not None and memory < LEAST:
            raise InputError(f"--memory {size(memory)}", 0, "too little for any kernel here", f"at least {size(LEAST)}")
        settings = _settings(memory, cpus)
        command = self._told("command", into, f"WISH={wish}", *(f"{name}={value}" for name, value in settings.items()))
        for name, value in settings.items():
            if value not in command:
                raise InputError(f"--{name.lower()} {value}", 0, f"the machine of {self.folder.name} is what it is")
        return command

    def _told(self, target: str, into: Path, *settings: str) -> list[str]:
        if shutil.which("make") is None:
            raise MissingTool(str(self.folder), 0, "make is not installed", "apt install make")
        return shlex.split(self._make(target, into, *settings))

    def _make(self, target: str, into: Path, *settings: str) -> str:
        ours = f"{shlex.quote(sys.executable)} -c 'from kernmalloc.cli import main; main()'"
        package = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
        command = ["make", "--silent", "-C", str(self.folder), f"BUILD={into}", f"KERNMALLOC={ours}", *settings, target]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            why = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("make")]
            wrong = [line for line in why if "error" in line.lower()] or why[-1:] or ["make failed"]
            raise InputError(str(self.folder), 0, wrong[0])
        return done.stdout


def _settings(memory: int | None, cpus: int | None) -> dict[str, str]:
    said = {"MEMORY": None if memory is None else f"{memory >> 20}M", "CPUS": None if cpus is None else str(cpus)}
    return {name: value for name, value in said.items() if value is not None}


class Running:
    """A machine that runs. Use it in a `with` block, at whose end it ends."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._monitor = folder / "monitor"
        emulated = command[0].startswith("qemu-")
        monitor = ["-qmp", f"unix:{self._monitor},server=on,wait=off"] if emulated else []
        self._process = subprocess.Popen(
            [*command, *monitor], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def lines(self) -> Iterator[str]:
        """What it says, line by line, until it ends. InputError: it has said nothing for too long."""
        output, rest = self._process.stdout, b""
        assert output is not None
        while True:
            if not select.select([output], [], [], SILENCE)[0]:
                raise InputError("the kernel", 0, f"it has said nothing for {SILENCE} seconds")
            part = output.read(4096)
            if not part:
                break
            *whole, rest = (rest + part).split(b"\n")
            yield from (line.decode("ascii", "replace").rstrip("\r") for line in whole)
        if rest:
            yield rest.decode("ascii", "replace")

    def send(self, text: str) -> None:
        """Let its serial port receive this."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())

    def dump(self, file: Path) -> None:
        """Write its memory to a file, as an ELF core. InputError: QEMU cannot."""
        with _monitor(self._monitor) as ask:
            ask("dump-guest-memory", paging=False, protocol=f"file:{file}")

    def save(self, file: Path, base: int, size: int) -> None:
        """Write memory from a physical address on to a file, raw. InputError: QEMU cannot."""
        with _monitor(self._monitor) as ask:
            ask("pmemsave", val=base, size=size, filename=str(file))

    def translate(self, addresses: Iterable[int], cpu: int) -> list[int | None]:
        """What one of its processors makes of virtual addresses: physical ones, None for what is not mapped. The
        machine stands still meanwhile. A processor in firmware takes each address as it is. InputError: QEMU cannot."""
        with _monitor(self._monitor) as ask:
            ask("stop")
            lines = [f"gva2gpa {va % (1 << 64):#x}" for va in addresses]
            told = [ask("human-monitor-command", **{"command-line": line, "cpu-index": cpu}) for line in lines]
            ask("cont")
        return [int(text.split()[1], 0) if text.startswith("gpa: ") else None for text in map(str, told)]


@contextmanager
def _monitor(place: Path) -> Iterator[_Ask]:
    """QEMU's machine protocol: what asks for one thing and waits for the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place))
        ask = _Ask(connection.makefile("rwb"))
        ask("qmp_capabilities")
        yield ask


class _Stream(Protocol):
    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...
    def readline(self) -> bytes: ...


class _Ask:
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def __call__(self, name: str, **arguments: object) -> object:
        self._stream.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        self._stream.flush()
        while line := self._stream.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise InputError("QEMU", 0, answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]
        raise InputError("QEMU", 0, "it has ended")
