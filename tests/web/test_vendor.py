"""The libraries of the pages: as they are pinned, each with its licence."""

import hashlib
import shutil
import tarfile

import pytest

from kernmalloc.web import vendor
from kernmalloc.web.vendor import FOLDER, PACKAGES, SUMS, NotAsPinned, Package


def test_what_is_shipped_is_what_was_fetched():
    sums = dict(reversed(line.split("  ")) for line in (FOLDER / SUMS).read_text().splitlines())
    assert set(sums) == {name for package in PACKAGES for name in package.files.values()}
    assert {path.name for path in FOLDER.iterdir()} == {*sums, SUMS}
    for name, sum in sums.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == sum, name


def test_each_package_comes_with_its_licence():
    for package in PACKAGES:
        assert "Permission" in (FOLDER / package.files["LICENSE"]).read_text()


def test_the_libraries_can_stand_in_a_script_of_a_page():
    for path in FOLDER.glob("*.js"):
        assert "</script" not in path.read_text().lower()


def test_an_archive_that_is_not_as_pinned_is_refused(tmp_path):
    made = tmp_path / "LICENSE"
    made.write_text("Permission")
    archive = tmp_path / "made.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(made, "package/LICENSE")
    sum = hashlib.sha256(archive.read_bytes()).hexdigest()
    good = Package("made", "1.0.0", sum, {"LICENSE": "made.LICENSE"})
    assert vendor.unpacked(good, archive) == {"made.LICENSE": b"Permission"}
    with pytest.raises(NotAsPinned, match=r"made 1\.0\.0: its archive has SHA-256 "):
        vendor.unpacked(good._replace(sha256="0" * 64), archive)


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
def test_the_registry_still_has_what_is_pinned():
    for package in PACKAGES:
        for name, data in vendor.fetched(package).items():
            assert data == (FOLDER / name).read_bytes()
