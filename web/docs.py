"""GET /openapi.json, and GET /docs: the same document as a page without scripts."""

import json
import shlex
from collections.abc import Iterator
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from .bodies import JSON
from .endpoints import route
from .openapi import Document, Json
from .request import Request
from .site import Site

FOLDER = Path(__file__).parent / "docs_page"


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of the documentation."""
    pages = Pages(site)

    async def openapi(request: Request) -> Response:
        return Response(pages.openapi, media_type=JSON)

    async def docs(request: Request) -> Response:
        return HTMLResponse(pages.docs)

    async def style(request: Request) -> Response:
        return Response((FOLDER / "docs.css").read_bytes(), media_type="text/css")

    return [route("/openapi.json", openapi), route("/docs", docs), route("/docs.css", style)]


class Pages:
    """The document and its page, created at the first request."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @cached_property
    def _document(self) -> Json:
        name = self._site.settings.app.partition(":")[0]
        return Document(self._site.app, secured=self._site.settings.keys is not None).as_json(
            name, metadata.version("dualbus")
        )

    @cached_property
    def openapi(self) -> bytes:
        """The document."""
        return json.dumps(self._document).encode()

    @cached_property
    def docs(self) -> str:
        """The page."""
        template = Environment(autoescape=True, loader=FileSystemLoader(FOLDER), trim_blocks=True).get_template(
            "docs.html"
        )
        return template.render(info=self._document["info"], operations=list(self._operations()))

    def _operations(self) -> Iterator[Json]:
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                content = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
                parameters = [self._resolved(each) for each in operation.get("parameters", ())]
                yield {
                    "id": operation["operationId"],
                    "method": method.upper(),
                    "path": path,
                    "summary": operation.get("summary", ""),
                    "fields": [*map(self._field, parameters), *self._body_fields(content.get("schema", {}))],
                    "call": self._call(method.upper(), path, parameters, content.get("example")),
                }

    def _body_fields(self, schema: Json) -> Iterator[Json]:
        found = self._resolved(schema)
        for name, field in found.get("properties", {}).items():
            yield self._field(
                {"name": name, "in": "body", "required": name in found.get("required", ()), "schema": field}
            )

    def _field(self, parameter: Json) -> Json:
        schema = parameter["schema"]
        return {
            **parameter,
            "type": self._type(schema),
            "description": parameter.get("description") or schema.get("description", ""),
        }

    def _type(self, schema: Json) -> str:
        """Return the type of a schema in a few words."""
        if "$ref" in schema:
            return str(schema["$ref"].rpartition("/")[2])
        if parts := schema.get("anyOf") or schema.get("oneOf"):
            return " or ".join(dict.fromkeys(map(self._type, parts)))
        if "enum" in schema:
            return " | ".join(map(str, schema["enum"]))
        if schema.get("type") == "array":
            return f"list of {self._type(schema.get('items', {}))}"
        return str(schema.get("format") or schema.get("type") or "any value")

    def _resolved(self, schema: Json) -> Json:
        found: Any = schema
        while "$ref" in found:
            *_, kind, name = found["$ref"].split("/")
            found = self._document["components"][kind][name]
        resolved: Json = found
        return resolved

    def _call(self, method: str, path: str, parameters: list[Json], body: Any) -> str:
        """Return a request for curl."""
        values = [(each["name"], each["example"]) for each in parameters if each.get("required")]
        url = f"{self._site.settings.browser_origin}{path}" + (f"?{urlencode(values)}" if values else "")
        if method == "GET":
            return f"{self._site.curl} {shlex.quote(url)}"
        return f"{self._site.curl} {shlex.quote(url)} --json {shlex.quote(json.dumps(body))}"
