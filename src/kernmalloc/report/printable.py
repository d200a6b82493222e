"""What may be printed of a text that somebody else wrote: names in logs, files, traces and the files' own names.

A terminal obeys control characters: a line feed forges a line, an escape sequence sets the title, bidirectional
controls turn what follows around.  Each is shown as JSON writes it, `\\u001b`, and so is what the reader's encoding
lacks.  So a line stays one line, and JSON stays JSON: outside its strings it has no such characters.
"""

from collections.abc import Iterator


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text as one line that a terminal shows and does not obey."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character, encoding) for character in text)


def _shown(character: str, encoding: str) -> str:
    if character.isprintable():
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            pass
        else:
            return character
    return "".join(f"\\u{unit:04x}" for unit in _units(character))


def _units(character: str) -> Iterator[int]:
    """The character in UTF-16, as JSON escapes it; a surrogate that stands alone is itself."""
    data = character.encode("utf-16-le", "surrogatepass")
    return (int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2))
