"""JSON schemas of messages and answers, for documents, forms and the command line."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, core_schema

from dualbus.application.messages import Message

JsonSchema = dict[str, Any]


class JsonSchemas(GenerateJsonSchema):
    """A part without a schema, such as an object of the author's class, may be any value.

    Only the functions of the part convert its JSON. They run in the cluster, and not for a schema.
    """

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - of the base class

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchema:
        """Return the schema of any value."""
        return {}

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchema:
        """Return the schema of an enum; of any value if the members' values have no form in JSON."""
        try:
            return super().enum_schema(schema)
        except PydanticSerializationError:
            return {}


def message_schema(kind: type[Message]) -> JsonSchema:
    """Return the schema of a message."""
    return kind.model_json_schema(schema_generator=JsonSchemas)
