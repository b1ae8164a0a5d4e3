"""Reads the HTML of the page as a person does: texts, links and forms."""

from html.parser import HTMLParser
from typing import Any

import httpx

INLINE = {"", "a", "b", "code", "output", "pre", "small", "span", "time"}
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Element:
    """An element with its attributes and its children."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element | str] = []

    @property
    def exact_text(self) -> str:
        """The text without markup."""
        return self._text()

    @property
    def text(self) -> str:
        """The text without markup, with single spaces."""
        return " ".join(self._text().split())

    def _text(self) -> str:
        text = "".join(child if isinstance(child, str) else child._text() for child in self.children)
        return text if self.tag in INLINE else f" {text} "

    def all(self, tag: str = "", **attributes: str) -> "list[Element]":
        """Return the elements of a tag and with these attributes; `class_` is one of its classes."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                found += ([child] if child._is(tag, attributes) else []) + child.all(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> "Element":
        """Return the only element."""
        [found] = self.all(tag, **attributes)
        return found

    def _is(self, tag: str, attributes: dict[str, str]) -> bool:
        own = {**self.attributes}
        name = attributes.get("class_")
        rest = {key: value for key, value in attributes.items() if key != "class_"}
        return (
            tag in ("", self.tag)
            and (name is None or name in own.get("class", "").split())
            and all(own.get(key) == value for key, value in rest.items())
        )


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.stack = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1].tag == tag, f"</{tag}> after <{self.stack[-1].tag}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def read(html: str) -> Element:
    """Return the root of a document, in which every element must be closed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.stack) == 1
    return reader.stack[0]


def get(browser: httpx.Client, path: str, code: int = 200, **params: Any) -> Element:
    """Return the document of a path, and check that nothing of it could run."""
    answer = browser.get(path, params=params or None, follow_redirects=True)
    assert answer.status_code == code, (answer.status_code, answer.text[-2000:])
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return checked(answer)


def checked(answer: httpx.Response) -> Element:
    """Return the document of an answer, in which nothing may run that is not a file of the page."""
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    root = read(answer.text)
    names = {name for element in root.all() for name in element.attributes}
    assert {name for name in names if name == "style" or name.startswith(("on", "hx-on"))} == set()
    for script in root.all("script"):
        assert script.attributes["src"].startswith("/page/static/")
        assert script.text == ""
    assert root.all("style") == []
    return root


def positions(root: Element) -> list[int]:
    """Return the positions of a list of events."""
    return [int(link.attributes["href"].rpartition("/")[2]) for link in root.all("a", class_="event")]
