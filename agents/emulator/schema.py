"""A strict check of request bodies, made from the SDK's own request types.

The SDK declares requests as TypedDicts, which pydantic accepts as they are but checks loosely: `Iterable` fields stay
unread, unknown keys vanish, "10" passes for an int, and one bad block yields a hundred errors.  So every TypedDict is
rebuilt here: extra keys are forbidden, types are strict, iterables are lists, and unions are told apart by `type` or
`role`.  Building takes about a second, half of it imports; that is why the server imports this module late.
"""

from __future__ import annotations

import collections.abc
import functools
import json
import os
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import typing_extensions as te
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it comes without types
from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]  # as above
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from prong.agents.emulator.prompt import encode
from prong.agents.emulator.request_types import request_types

_sdk = request_types("_types")
# These are keyword arguments of the SDK that travel as headers, not in the body.
HEADER_FIELDS = frozenset({"betas", "user_profile_id", "workspace_id"})
# A JSON schema may hold any key.
OPEN_TYPES = frozenset({"InputSchemaTyped"})
# Versions before this one still know the sampling parameters, which the SDK's types no longer have.
FIRST_VERSION_WITHOUT_SAMPLING = "2026-10-21"
SAMPLING_FIELDS: Mapping[str, Any] = {
    "temperature": te.Annotated[float, Field(ge=0, le=1)],
    "top_p": te.Annotated[float, Field(ge=0, le=1)],
    "top_k": te.Annotated[int, Field(ge=0)],
}
TAG_KEYS = ("type", "role")
ANY_OTHER = "\0other"
ROLES = ("user", "assistant", "system")
ROLE_DEPTH = 2
MAX_JUDGED_SCHEMAS = 10_000
WRAPPERS = (typing.Annotated, te.Annotated, te.Required, te.NotRequired)
ITERABLES = (collections.abc.Iterable, collections.abc.Sequence, list, _sdk.SequenceNotStr)
MAPPINGS = (dict, collections.abc.Mapping)


class Schema:
    """The checks for `POST /v1/messages` and for `count_tokens`, each for older and for current clients."""

    def __init__(self) -> None:
        self._rebuild = _Rebuild()
        self._create = self._rebuild.request(self._create_type, {"stream": bool})
        self._judged: dict[bytes, bool] = {}

    @property
    def _create_type(self) -> Any:
        return request_types("types.beta.message_create_params").MessageCreateParamsBase

    # Most emulators never see an older client, nor one that counts, so these are built for the first that comes.
    @functools.cached_property
    def _create_with_sampling(self) -> TypeAdapter[Any]:
        return self._rebuild.request(self._create_type, {"stream": bool, **SAMPLING_FIELDS})

    @functools.cached_property
    def _count(self) -> TypeAdapter[Any]:
        count = request_types("types.beta.message_count_tokens_params")
        return self._rebuild.request(count.MessageCountTokensParams, {})

    def problem(self, body: object, *, version: str) -> str | None:
        """What is wrong with the body of a message request, in the API's words, or None."""
        old = version < FIRST_VERSION_WITHOUT_SAMPLING
        return _problem(self._create_with_sampling if old else self._create, body)

    def tools_problem(self, tools: Sequence[Mapping[str, Any]]) -> str | None:
        """Which tool's input schema is no JSON Schema, in the API's words, or None; each schema is judged once."""
        for index, tool in enumerate(tools):
            schema = tool.get("input_schema")
            if schema is not None and not self._is_json_schema(encode(schema)):
                return (
                    f"tools.{index}.custom.input_schema: JSON schema is invalid."
                    " It must match JSON Schema draft 2020-12"
                )
        return None

    def _is_json_schema(self, encoded: bytes) -> bool:
        if encoded not in self._judged:
            if len(self._judged) >= MAX_JUDGED_SCHEMAS:
                self._judged.clear()
            try:
                Draft202012Validator.check_schema(json.loads(encoded))
            except SchemaError:
                self._judged[encoded] = False
            else:
                self._judged[encoded] = True
        return self._judged[encoded]

    def count_problem(self, body: object) -> str | None:
        """What is wrong with the body of a token-counting request, or None."""
        return _problem(self._count, body)


def _problem(adapter: TypeAdapter[Any], body: object) -> str | None:
    try:
        adapter.validate_python(body)
    except ValidationError as invalid:
        return _in_words(invalid)
    return None


def _in_words(invalid: ValidationError) -> str:
    """Such as `messages.0.content.1.tool_result.tool_use_id: Field required`.

    Of several errors the deepest is told: it belongs to the branch of a union that was meant.
    """
    error = max(invalid.errors(include_url=False), key=lambda error: len(error["loc"]))
    parts = [str(part) for part in error["loc"]]
    place = ".".join(part for index, part in enumerate(parts) if not _is_internal(parts, index))
    text = error["msg"]
    if error["type"] == "extra_forbidden":
        text = "Extra inputs are not permitted"
    elif error["type"] == "union_tag_invalid" and error["ctx"]["tag"] == ANY_OTHER:
        text = "Input should be an object"
    return f"{place or 'body'}: {text.replace(' using pick()', '')}"


def _is_internal(parts: Sequence[str], index: int) -> bool:
    """Whether a part of an error's place names a branch that pydantic took, which the API does not print."""
    part = parts[index]
    is_role_of_message = parts[0] == "messages" and index == ROLE_DEPTH and part in ROLES
    return is_role_of_message or part in (ANY_OTHER, "str") or part.startswith(("list[", "nullable["))


class _Rebuild:
    """Makes strict twins of types and remembers them, because types refer to each other and to themselves."""

    def __init__(self) -> None:
        self._twins: dict[Any, Any] = {}

    def request(self, base: Any, more: Mapping[str, Any]) -> TypeAdapter[Any]:
        """The check for a whole request body."""
        fields = {key: hint for key, hint in _hints(base).items() if key not in HEADER_FIELDS}
        twin = self._typed_dict(base, fields, more)
        return TypeAdapter(twin)

    def _typed_dict(self, base: Any, hints: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
        required = _required(base)
        fields = {
            key: (te.Required if key in required else te.NotRequired)[self._convert(hint)]
            for key, hint in hints.items()
        }
        fields |= {key: te.NotRequired[hint] for key, hint in more.items()}
        make: Any = te.TypedDict
        twin = make(base.__name__, fields)
        extra: typing.Literal["allow", "forbid"] = "allow" if base.__name__ in OPEN_TYPES else "forbid"
        twin.__pydantic_config__ = ConfigDict(extra=extra, strict=True)
        return twin

    def _convert(self, hint: Any) -> Any:
        hint = _unwrap(hint)
        origin, arguments = te.get_origin(hint), te.get_args(hint)
        if te.is_typeddict(hint):
            return self._convert_typed_dict(hint)
        if origin in (typing.Union, types.UnionType):
            return self._convert_union(hint)
        if origin in ITERABLES:
            return list[self._convert(arguments[0])]  # type: ignore[misc]  # a type made at run time
        if origin in MAPPINGS:
            return dict[arguments[0], self._convert(arguments[1])]  # type: ignore[misc,valid-type]  # as above
        return hint

    def _convert_typed_dict(self, hint: Any) -> Any:
        if hint not in self._twins:
            # A type that contains itself is not followed further than this.
            self._twins[hint] = Any
            self._twins[hint] = self._typed_dict(hint, _hints(hint), {})
        return self._twins[hint]

    def _convert_union(self, hint: Any) -> Any:
        members = [member for member in _members(hint) if _on_the_wire(member)]
        tagged = [member for member in members if te.is_typeddict(member)]
        others = [member for member in members if not te.is_typeddict(member)]
        for key in TAG_KEYS:
            if len(tagged) > 1 and all(_tags(member, key) for member in tagged):
                return self._tagged_union(key, tagged, others)
        return _union(self._convert(member) for member in members) if members else Any

    def _tagged_union(self, key: str, tagged: Sequence[Any], others: Sequence[Any]) -> Any:
        table: dict[str, Any] = {}
        for member in tagged:
            for tag in _tags(member, key):
                table.setdefault(tag, member)
        without_key = next((tag for tag, member in table.items() if key not in _required(member)), None)

        def pick(value: object) -> object:
            if not isinstance(value, dict):
                return ANY_OTHER
            tag = value.get(key)
            return without_key if tag is None else tag

        choices = [te.Annotated[self._convert(member), Tag(tag)] for tag, member in table.items()]
        if others:
            choices.append(te.Annotated[_union(self._convert(member) for member in others), Tag(ANY_OTHER)])
        return te.Annotated[_union(choices), Discriminator(pick)]


def _union(members: Iterable[Any]) -> Any:
    make: Any = typing.Union
    return make[tuple(members)]


@functools.cache
def _hints(typed_dict: Any) -> Mapping[str, Any]:
    """Each annotation is a string, and compiling it takes most of the time of building."""
    return te.get_type_hints(typed_dict, include_extras=True)


def _required(typed_dict: Any) -> frozenset[str]:
    """The keys that must be there.

    `__required_keys__` is wrong for these types: when they were made, their annotations were still strings.
    """
    wrappers = {key: te.get_origin(hint) for key, hint in _hints(typed_dict).items()}
    if getattr(typed_dict, "__total__", True):
        return frozenset(key for key, wrapper in wrappers.items() if wrapper is not te.NotRequired)
    return frozenset(key for key, wrapper in wrappers.items() if wrapper is te.Required)


def _unwrap(hint: Any) -> Any:
    while te.get_origin(hint) in WRAPPERS:
        hint = te.get_args(hint)[0]
    return hint


def _members(hint: Any) -> Iterator[Any]:
    """The members of a union, flattened; a hint that is no union is its own only member."""
    hint = _unwrap(hint)
    if te.get_origin(hint) in (typing.Union, types.UnionType):
        for member in te.get_args(hint):
            yield from _members(member)
    else:
        yield hint


def _tags(typed_dict: Any, key: str) -> list[str]:
    """The literal values by which a union knows this member, such as ["text"]."""
    hint = _hints(typed_dict).get(key)
    literals = [member for member in _members(hint) if te.get_origin(member) is typing.Literal] if hint else []
    return [tag for literal in literals for tag in te.get_args(literal)]


def _on_the_wire(member: Any) -> bool:
    """False for what only Python callers of the SDK may pass: response models, open files, paths, bytes."""
    kind = te.get_origin(member) or member
    if not isinstance(kind, type):
        return True
    return not issubclass(kind, (bytes, BaseModel, _sdk.Omit, os.PathLike, typing.IO))
