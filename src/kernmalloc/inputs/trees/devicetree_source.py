"""Reader of device-tree sources (*.dts), through `dtc`, which compiles them, where it is installed.

Sources in source trees are not whole: they include other files, and the C preprocessor is run over them first.  What is
read here is a source that `dtc` takes alone, such as `dtc -I dtb -O dts` or Zephyr's build writes.  `dtc` is given the
text, and no file: nothing in it may name one.
"""

import re
import shutil
import subprocess

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import Facts
from kernmalloc.inputs.limits import hold
from kernmalloc.inputs.trees import devicetree

SECONDS = 20  # for dtc to end
_RECOGNISE = re.compile(r"^[ \t]*(?:/dts-v1/[ \t]*;|/plugin/[ \t]*;|/[ \t]*\{)", re.M)
_OVERLAY = re.compile(r"^[ \t]*(?:/dts-v1/[ \t]*;[ \t]*)?/plugin/", re.M)
_INCLUDES = re.compile(r"^[ \t]*#[ \t]*(?:include|define|if)\b|/include/|/incbin/", re.M)
_QUOTED = re.compile(r"""//[^\n]*|/\*(?:.*?\*/|.*)|"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\\n])*'?""", re.S)
_PLACE = re.compile(r"<stdin>(?::(\d+)[\d.-]*)?:? ?")


def recognises(head: str) -> bool:
    """Whether `head` has the beginning of a device-tree source, or of its root."""
    return bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described.  Raises UnreadableError where `dtc` is not installed or does not take it."""
    hold("tree", len(text), file)
    source = _QUOTED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)  # its comments and strings blank
    if _OVERLAY.search(source):
        raise UnreadableError(file, 0, *devicetree.OVERLAY)
    if found := _INCLUDES.search(source):
        line = source.count("\n", 0, found.start()) + 1
        advice = "give the .dtb that its source tree builds (make dtbs)"
        raise UnreadableError(file, line, f"a device-tree source with {found[0].strip()}: not whole by itself", advice)
    return devicetree.read(_compiled(text, file), file)


def _compiled(text: str, file: str) -> bytes:
    dtc = shutil.which("dtc")
    if not dtc:
        advice = "dtc -O dtb -o board.dtb FILE makes board.dtb of it: give that"
        raise UnreadableError(file, 0, "a device-tree source, and dtc, which compiles it, is not installed", advice)
    command = [dtc, "-q", "-I", "dts", "-O", "dtb", "-o", "-", "-"]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnreadableError(file, 0, f"a device-tree source on which dtc fails: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        why = next((line for line in said.splitlines() if "error" in line.lower()), f"status {done.returncode}")
        place = _PLACE.search(why)
        line = int(place[1] or 0) if place else 0
        reason = f"a device-tree source that dtc does not take: {_PLACE.sub('', why)}"
        raise UnreadableError(file, line, reason)
    return done.stdout
