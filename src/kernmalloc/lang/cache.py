"""The cache folder: what is compiled once for this version's sources is kept there for the user.

Each file has a checksum beside it, as sha256sum prints it. A file that does not match its checksum is not used.
The folder holds code that will run, so it is used only if it belongs to the user and nobody else may write to it.
Where it cannot be used, a temporary folder serves until this process ends. Warnings say what is not used, and why.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from kernmalloc.lang import layout

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).resolve().parent.parent
KEPT = 4
"""Versions that stay in the cache: the newest."""
ROOM = 16 << 20
"""Bytes that must be free before anything is built: more than one version takes."""

_temporary: list[Path] = []  # the folder of this process, once it has needed one


def found(name: str) -> bytes | None:
    """The file of that name, if the cache has it."""
    for place in (_users_folder(), *_temporary):
        try:
            _refuse_foreign(place.parent)
            _refuse_foreign(place)
        except OSError:
            continue
        data = whole(place / name)
        if data is not None:
            return data
    return None


def kept(name: str, make: Callable[[], bytes], waits: Callable[[], object] = lambda: None) -> bytes:
    """The file of that name. If the cache has none, one process of all that want it makes it; `waits` is called in the
    others, before they wait for that."""
    data = found(name)
    if data is not None:
        return data
    place = folder()
    with open(place / f"{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(lock, fcntl.LOCK_EX)
        data = whole(place / name)
        if data is None:
            data = make()
            put(place / name, data)
            _forget_old(place.parent)
    return data


def whole(path: Path) -> bytes | None:
    """The bytes of a file that `put` wrote, or None if there is no such file or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    checksum = _checksum_file(path)
    if checksum.exists() and checksum.read_bytes() == _checksum(path, data):
        return data
    warnings.warn(f"{path} is damaged and is not used", stacklevel=1)
    return None


def put(path: Path, data: bytes) -> None:
    """Write a file and its checksum. Whoever reads meanwhile finds the whole file or none."""
    for target, content in ((_checksum_file(path), _checksum(path, data)), (path, data)):
        part = target.with_name(f"{target.name}.part")
        part.write_bytes(content)
        os.replace(part, target)


def folder() -> Path:
    """A folder of this version's, beside those of others, that can be written to. OSError if there is none at all."""
    place = _users_folder()
    try:
        place.parent.parent.mkdir(parents=True, exist_ok=True)
        for made in (place.parent, place):
            made.mkdir(mode=0o700, exist_ok=True)
            _refuse_foreign(made)
        with tempfile.TemporaryFile(dir=place) as probe:
            os.posix_fallocate(probe.fileno(), 0, ROOM)
    except OSError as error:
        warnings.warn(
            f"{place.parent} is not used ({error.strerror}): what is built is lost when this ends; "
            "XDG_CACHE_HOME may name another folder",
            stacklevel=1,
        )
        return _temporary_folder()
    return place


@cache
def digest() -> str:
    """Of every source that an object depends on, of the layout, and of the processor's architecture."""
    sources = hashlib.sha256(f"{platform.machine()}\0{layout.LAYOUT.text()}".encode())
    for part in ("lang", "machine", "kernel", "drivers"):
        for path in sorted((PACKAGE / part).rglob("*.py")):
            sources.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return sources.hexdigest()[:32]


def _users_folder() -> Path:
    return platformdirs.user_cache_path("kernmalloc") / digest()


def _temporary_folder() -> Path:
    if not _temporary:
        root = tempfile.mkdtemp(prefix="kernmalloc-")
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        _temporary.append(Path(root) / digest())
        _temporary[0].mkdir(mode=0o700)
    return _temporary[0]


def _refuse_foreign(place: Path) -> None:
    """PermissionError if anybody but the user may have put something into a folder."""
    state = place.stat()
    if state.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", str(place))
    if state.st_mode & 0o022:
        raise PermissionError(errno.EPERM, f"others may write to it: chmod go-w {place}", str(place))


def _checksum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _checksum(path: Path, data: bytes) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode()


def _forget_old(root: Path) -> None:
    versions = [version for version in root.iterdir() if any(version.glob("*.o"))]
    for version in sorted(versions, key=lambda version: version.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(version, ignore_errors=True)
