"""The libraries of the pages, as their makers built them: fetched from npm at pinned versions, checked, put into place.

    python -m kernmalloc.web.vendor        (make web; it needs npm, and the npm registry)

What it writes is part of the sources, so nobody else needs either. A page holds each as a script that defines one
global, `d3` or `Plot`; the licences stand beside them, with those of what Plot was built with.
"""

import hashlib
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

FOLDER = Path(__file__).with_name("static") / "vendor"


class Package(NamedTuple):
    """A package of npm: name, version, SHA-256 of its archive, and what is taken out of it under which name."""

    name: str
    version: str
    sha256: str
    files: dict[str, str]


PACKAGES = (
    Package(
        "d3",
        "7.9.2",
        "f0c1d2c2479907a6e3265370d0fd715f7aef0f561cdd2b415df385ba7df9d1aa",
        {"dist/d3.min.js": "d3.min.js", "LICENSE": "d3.LICENSE"},
    ),
    Package(
        "@observablehq/plot",
        "0.6.17",
        "4dcc9f7afd10caee8b2283c0075a5765610cfbbf6d7d93cdb153b3b5d3501afc",
        {"dist/plot.umd.min.js": "plot.umd.min.js", "LICENSE": "plot.LICENSE"},
    ),
    Package(
        "interval-tree-1d",
        "1.0.4",
        "0cb92166b1ad4cb223ed17685eb46eca40fad0917fbdd7e7d0aeb101b0cd784e",
        {"LICENSE": "interval-tree-1d.LICENSE"},
    ),
    Package(
        "binary-search-bounds",
        "2.0.5",
        "39e279fd32dc8dcabcfc53a347bc1243ebabe11f83df156eaf6a73edadec16c3",
        {"LICENSE": "binary-search-bounds.LICENSE"},
    ),
    Package(
        "isoformat",
        "0.2.1",
        "f5c2830fec6161e97ddcabeb4d9091fe7b1ff334cd60c790c1bfe49c7ab3c2de",
        {"LICENSE": "isoformat.LICENSE"},
    ),
)

SUMS = "SHA256SUMS"
"""The file that tells what each file in the folder is, as sha256sum writes and checks it."""


class NotAsPinned(Exception):
    """An archive is not the one that was pinned: one line."""


def unpacked(package: Package, archive: Path) -> dict[str, bytes]:
    """The files of an archive by the names under which they are kept. Raises NotAsPinned."""
    data = archive.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != package.sha256:
        raise NotAsPinned(f"{package.name} {package.version}: its archive has SHA-256 {found}, not {package.sha256}")
    files = {}
    with tarfile.open(archive) as tar:
        for inside, name in package.files.items():
            member = tar.extractfile(f"package/{inside}")
            assert member, f"{inside} is a file"
            files[name] = member.read()
    return files


def fetched(package: Package) -> dict[str, bytes]:
    """The files of a package, from the registry by npm. Raises NotAsPinned, CalledProcessError, OSError (no npm)."""
    with TemporaryDirectory() as folder:
        asked = f"{package.name}@{package.version}"
        command = ["npm", "pack", "--silent", "--pack-destination", folder, asked]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).iterdir()
        return unpacked(package, archive)


def main() -> None:
    """Fetch all packages, then write their files and their checksums."""
    files = {name: data for package in PACKAGES for name, data in fetched(package).items()}
    FOLDER.mkdir(exist_ok=True)
    for name, data in files.items():
        (FOLDER / name).write_bytes(data)
    sums = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    (FOLDER / SUMS).write_text("".join(sums))


if __name__ == "__main__":
    main()
