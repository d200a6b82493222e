"""Reads fragments of HTML, and fails where one is not what it should be."""

from html.parser import HTMLParser

from hypothesis import strategies as st

from kernmalloc.report.printable import printable

EVIL = st.text(max_size=40) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "&lt;",
        "'",
        "\x1b[31m",
        "\u202e",
        "\ud800",
        "</td>",
    ]
)
TAGS = {"div", "p", "strong", "span", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "details", "summary"}
ATTRIBUTES = {"class", "style", "role", "aria-label", "colspan"}


class Reader(HTMLParser):
    """The text of a fragment, by the tag that it stands in. Fails where it is not well formed."""

    def __init__(self, fragment: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.labels: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(fragment)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, tag
        found = dict(attributes)
        assert found.keys() <= ATTRIBUTES, found
        style = found.get("style") or ""
        assert "url(" not in style and "#" not in style and "rgb" not in style
        self.labels += [found["aria-label"]] if "aria-label" in found else []
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def handle_decl(self, decl):
        raise AssertionError(decl)

    handle_comment = handle_pi = unknown_decl = handle_decl

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.texts)


def shown(text: str) -> str:
    """What a reader sees of a text."""
    return printable(text)
