"""Text of clients on a terminal and in logs."""

import re

# Controls of a terminal, ends of lines, and characters that change the direction of the text beside them.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Return a text with \u escapes in place of its controls: JSON keeps its value."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
