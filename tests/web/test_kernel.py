"""The kernel in a page: the module in Chromium against mode soft here, byte by byte, and what the page says of it."""

from base64 import b64decode

import pytest
from small_machines import MIB, guest, machine

from kernmalloc.facade.errors import BadAddress
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.machine.memory_map import Machine
from kernmalloc.web.image import in_pages
from kernmalloc.web.kernel import WRITTEN, kernel_data, scaled
from kernmalloc.web.page import MOST, Part, page

DAY = ("eros2", "coyotos-coldfire", "x86_64", "guest")
PARTS = [Part("bootstrap", "The bootstrap", None), Part("tryIt", "Try it", None)]
MEMORY = """async () => {
  const pages = (await kernel.ask("memory")).sort((a, b) => a[0] - b[0]);
  let text = "";
  for (const [frame, bytes] of pages) {
    const whole = new Uint8Array(8 + bytes.length);
    new DataView(whole.buffer).setBigInt64(0, BigInt(frame), true);
    whole.set(bytes, 8);
    text += String.fromCharCode(...whole);
  }
  return btoa(text);
}"""
RUN = """async (calls) => {
  const results = [];
  for (const [name, ...rest] of calls) {
    const { result } = await kernel.ask("call", [name, ...rest.map(BigInt)]);
    results.push(String(result));
  }
  return results;
}"""

ANEW = """async (settings) => {
  const { refused } = await kernel.ask("restart", settings);
  await kernel.boot();
  return [refused === null ? null : kernel.refusal(refused), Number(kernel.state.kern.growth)];
}"""


def opened(page_of, data, **how):
    """The page of one kernel, once it is up."""
    shown = page_of(page("a kernel", [], PARTS, data), **how)
    shown.wait_for_selector("body[data-booted]", timeout=60_000)
    return shown


def in_the_page(shown, page_bytes: int) -> dict[int, bytes]:
    data, length = b64decode(shown.evaluate(MEMORY)), 8 + page_bytes
    return {
        int.from_bytes(data[at : at + 8], "little") * page_bytes: data[at + 8 : at + length]
        for at in range(0, len(data), length)
    }


def here(kernel: Kernel) -> dict[int, bytes]:
    return in_pages(kernel.view.ram.snapshot(), kernel.profile.page)


def calls_of(kernel: Kernel) -> list[list[int | str]]:
    """Operations that succeed, fail, and are refused."""
    vas = [kernel.call("malloc", size) for size in (1, 100, 5000, 40_000)]
    frame = kernel.call("range_get", 3, 1, 0, 1 << 40, 0, 4)
    kernel.call("free", vas[1])
    kernel.call("free", vas[1])
    kernel.call("range_put", frame, 3)
    kernel.call("drain")
    assert kernel.check().passed
    done = [["malloc", size] for size in (1, 100, 5000, 40_000)]
    done += [["range_get", 3, 1, 0, 1 << 40, 0, 4], ["free", str(vas[1])], ["free", str(vas[1])]]
    return [*done, ["range_put", frame, 3], ["drain"], ["check"]]


EVERY = [name for name in Profile.shipped() if name not in DAY]
"""Kernels beside those by day."""


@pytest.mark.parametrize("name", [*DAY, *(pytest.param(name, marks=pytest.mark.nightly) for name in EVERY)])
def test_the_page_has_the_same_memory_as_soft(page_of, name) -> None:
    own = guest() if name == "guest" else Profile.load(name)
    made = machine((0x1000, 0x9E000), (MIB, 23 * MIB + own.image.size))
    shown = opened(page_of, kernel_data(made, own))
    with Kernel.boot(made, own, "soft") as kernel:
        assert in_the_page(shown, own.page) == here(kernel)
        calls = calls_of(kernel)
        results = shown.evaluate(RUN, calls)
        assert in_the_page(shown, own.page) == here(kernel)
        assert results[-1] == "0"


def test_steps_go_back_and_forth_and_settings_start_anew(page_of) -> None:
    made, own = machine((0x1000, 0x9E000), (MIB, 7 * MIB)), Profile.load("eros2")
    data = kernel_data(made, own)
    shown = opened(page_of, data)
    up = in_the_page(shown, own.page)
    versions = shown.evaluate("kernel.state.versions")
    assert versions == len(data["steps"]) + 1
    shown.get_by_role("button", name="Start").click()
    shown.wait_for_function("kernel.state.version === 0")
    with Kernel.load(made, own, "soft") as kernel:
        assert in_the_page(shown, own.page) == here(kernel)
    for version in range(1, versions):
        shown.get_by_role("button", name="Forward").click()
        shown.wait_for_function(f"kernel.state.version === {version}")
        said = shown.locator(".step-says").inner_text()
        assert data["steps"][version - 1]["text"] in said
    assert in_the_page(shown, own.page) == up
    refused, growth = shown.evaluate(ANEW, {"growth": 64, "idle_most": 64})
    assert refused is None and growth == 64
    refused, growth = shown.evaluate(ANEW, {"growth": 1 << 20})
    assert "(BAD_BOOT)" in refused and growth == 16
    assert in_the_page(shown, own.page) == up


def test_a_double_free_is_refused_with_the_same_words(page_of) -> None:
    made, own = machine((MIB, 7 * MIB)), Profile.load("eros2")
    shown = opened(page_of, kernel_data(made, own))
    with Kernel.boot(made, own, "soft") as kernel:
        va = kernel.malloc(100)
        kernel.free(va)
        with pytest.raises(BadAddress) as refused:
            kernel.free(va)
    shown.get_by_role("button", name="malloc").click()
    button = shown.get_by_role("button", name=f"free({va:#x})")
    button.click()
    button.click()
    shown.wait_for_function("document.querySelectorAll('.try-log li').length === 3")
    assert shown.locator(".try-log li").last.inner_text() == str(refused.value)
    shown.get_by_role("button", name="check").click()
    shown.wait_for_function("document.querySelector('.try-log').innerText.includes('assertions held')")


@pytest.mark.parametrize("width, dark", [(1280, False), (400, True)])
def test_it_fits_and_says_what_is_donated(page_of, width, dark) -> None:
    made, own = Machine.shipped("desktop-16g"), Profile.load("eros2")
    html = page("a kernel", [], PARTS, kernel_data(made, own))
    assert len(html.encode()) < MOST
    shown = page_of(html, width=width, dark=dark)
    shown.wait_for_selector("body[data-booted]", timeout=60_000)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    with Kernel.boot(made, own, "soft") as kernel:
        donated = kernel.donation
        free, heap = kernel.frames_by_type()["free"], kernel.frames_by_type()["heap"]
    text = shown.locator("body").inner_text()
    assert f"Why exactly {donated.frames:,} frames?" in text
    assert f"{donated.heap:,} + {donated.maps:,} = {donated.frames:,}" in text
    figures = shown.evaluate("[kernel.state.kern.free_frames, kernel.state.kern.heap_frames].map(Number)")
    assert figures == [free, heap]
    cells = shown.evaluate("kernel.state.cells.flat().reduce((sum, each) => sum + each.counts[1], 0)")
    assert cells == heap


def test_the_map_is_worked_by_the_keyboard(page_of) -> None:
    shown = opened(page_of, kernel_data(machine((MIB, 7 * MIB)), Profile.load("eros2")))
    shown.locator(".memory-map svg").focus()
    for _ in range(3):
        shown.keyboard.press("ArrowRight")
    assert "Enter or a click decodes" in shown.locator(".chart-says").inner_text()
    shown.keyboard.press("Enter")
    shown.wait_for_selector(".record table")
    assert "what the frame is" in shown.locator(".record").inner_text()
    for name, meaning in (("Kern", "frames of type FREE"), ("Region", "first pfn"), ("Cache", "bytes of a slot")):
        shown.get_by_role("button", name=name, exact=True).click()
        shown.wait_for_selector(f"table caption:has-text('{name} at')")
        assert meaning in shown.locator("#part-1").inner_text()


def test_a_large_boot_is_scaled_down_and_says_so(page_of) -> None:
    made, own = Machine.shipped("desktop-16g"), Profile.load("coyotos-i386")
    small = scaled(made, 64, own.page)
    assert [r.base // 64 // own.page for r in made.ram] == [r.base // own.page for r in small.ram if r.size]
    data = kernel_data(small, own) | {"scale": 64}
    shown = opened(page_of, data)
    assert "the same map scaled down: each range is a 64th as long" in shown.locator("main").inner_text()
    assert WRITTEN == 256 << 20
