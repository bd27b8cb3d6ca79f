"""What answers the tools of APIs in one environment: the real endpoint, an MCP server, or a virtual reply.

A virtual reply stands in where no endpoint is configured or it gives no answer. It is always flagged ``synthetic``:
a real reply kept from before, one that a model writes, or a seeded document of the reply's schema.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcpserver.api.cache import Example, ReplyCache, default_folder, read_value
from mcpserver.api.entities import Entities, singular
from mcpserver.api.guess import guess_schema
from mcpserver.api.names import snake
from mcpserver.api.operation import ApiOperation
from mcpserver.api.virtual import MAX_EXAMPLES, Earlier, Writer, show_earlier, write_reply
from mcpserver.rendering import cap, error_text
from mcpserver.settings import ApiSettings
from mcpserver.tool_error import ToolError
from toolwright.artifacts import hash_of
from toolwright.calls import canonical_value
from toolwright.errors import ConfigError, DataError, EndpointError, ToolServerError
from toolwright.records import ToolCall, ToolResult
from toolwright.words import cut

if TYPE_CHECKING:
    from mcpserver.api.endpoint import Endpoint
    from mcpserver.catalogue import Tool
    from mcpserver.client import ServerWorld, ToolServers

DEFAULT = ApiSettings()
MAX_HISTORY = 200
MAX_ERROR = 600
_WRITES = re.compile(
    r"(?i)(?:^|_)(create|add|post|put|update|set|delete|remove|cancel|book|send|upload|edit|patch)(?:_|$)"
)


class Apis:
    """The APIs of one conversation: what was said, connections, and the kept replies.

    Attributes:
        writer: the model that plays APIs; made from the settings at the first virtual reply, if they name one.
    """

    def __init__(self, seed: int, settings: ApiSettings = DEFAULT, writer: Writer | None = None) -> None:
        self.settings = settings
        self.writer = writer
        self._cache = ReplyCache(Path(settings.cache_dir) if settings.cache_dir else default_folder())
        self._stack = AsyncExitStack()
        self._endpoint: Endpoint | None = None
        self._servers: dict[str, ToolServers] = {}
        self._worlds: dict[str, ServerWorld] = {}
        self._turn, self._opening = asyncio.Lock(), asyncio.Lock()
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Forget the conversation."""
        self._entities = Entities(seed)
        self._earlier: dict[str, list[Earlier]] = {}
        self._given: dict[str, dict[str, str]] = {}
        self._worlds.clear()

    async def aclose(self) -> None:
        """Close connections, servers and the kept replies."""
        self._servers.clear()
        self._worlds.clear()
        self._endpoint = None
        self._cache.close()
        await self._stack.aclose()

    async def call(self, tool: "Tool", arguments: Mapping[str, Any]) -> ToolResult:
        """Answer a call, whose arguments were checked.

        Raises:
            ToolError: the call cannot be sent, an address is denied, or the kept replies cannot be used.
        """
        operation = tool.api
        assert operation is not None
        ask = self._ask_server if operation.source.kind == "mcp" else self._ask_endpoint
        try:
            real = await ask(tool, operation, arguments)
            if real is not None:
                return real
            async with self._turn:  # one after the other: each virtual reply is to agree with those before
                text = await self._virtual(tool, operation, canonical_value(dict(arguments)), arguments)
        except ToolError:
            raise
        except Exception as error:  # schemas, servers and models of strangers: nothing of theirs ends a conversation
            raise ToolError("tool_error", f"{tool.spec.name} failed: {type(error).__name__}") from error
        return ToolResult(content=cap(text), synthetic=True)

    async def _ask_server(
        self, tool: "Tool", operation: ApiOperation, arguments: Mapping[str, Any]
    ) -> ToolResult | None:
        """What the MCP server answers that the tool was imported from; None when it is gone."""
        try:
            world = await self._server_world(operation)
            result = await world.call(ToolCall(name=operation.name, arguments=dict(arguments)))
        except (ToolServerError, ConfigError, DataError):
            return None
        if result.ok:
            self._remember(tool, canonical_value(dict(arguments)), result.content)
        return result

    async def _server_world(self, operation: ApiOperation) -> "ServerWorld":
        """This conversation's environment on an MCP server, which is started at the first call."""
        name = operation.server
        async with self._opening:
            if name not in self._servers:
                from mcpserver.client import open_servers  # the MCP SDK takes time, and few catalogues need it
                from mcpserver.mcp_config import read_server

                entry = operation.source.mcp.get(name)
                config = read_server(Path(operation.source.origin), name, entry)
                self._servers[name] = await self._stack.enter_async_context(open_servers([config]))
            if name not in self._worlds:
                world = self._servers[name].environment(self._entities.seed)
                self._worlds[name] = await self._stack.enter_async_context(world)
            return self._worlds[name]

    async def _ask_endpoint(
        self, tool: "Tool", operation: ApiOperation, arguments: Mapping[str, Any]
    ) -> ToolResult | None:
        """What the real endpoint answers; None when there is none, or it gives no answer."""
        base_url, headers = self._address(operation)
        if not base_url:
            return None
        from mcpserver.api.endpoint import Endpoint, UnavailableError  # the HTTP client takes time to import
        from mcpserver.api.request import build_request

        request = build_request(operation, arguments)
        if self._endpoint is None:
            settings = self.settings
            self._endpoint = Endpoint(settings.timeout_s, settings.retries, settings.allow_private)
            self._stack.push_async_callback(self._endpoint.aclose)
        try:
            answer = await self._endpoint.ask(base_url, request, headers)
        except UnavailableError:
            return None
        if not answer.good:
            where = f"HTTP {answer.status} from {request.method} {cut(request.path, 100)}"
            error = ToolError("tool_error", f"{where}: {cut(' '.join(answer.text.split()), MAX_ERROR)}")
            return ToolResult(content=error_text(error), error=error.kind)
        text = answer.text or f"HTTP {answer.status}, without content"
        key = canonical_value(dict(arguments))
        if answer.whole and answer.text:
            self._cache.add_real(identity(tool), key, text)
        self._remember(tool, key, text)
        return ToolResult(content=cap(text))

    def _address(self, operation: ApiOperation) -> tuple[str, dict[str, str]]:
        """The endpoint of an operation and the headers that belong to it; empty for none."""
        from mcpserver.mcp_config import expand

        settings, source = self.settings, operation.source
        if settings.base_url == "document":
            base_url, headers = operation.server or next(iter(source.servers), ""), dict(settings.headers)
        elif settings.base_url:
            base_url, headers = settings.base_url, dict(settings.headers)
        else:
            base_url, headers = source.base_url, dict(source.headers)
        try:
            return base_url, expand("header of the API", headers) if base_url else {}
        except ConfigError as error:
            raise ToolError("tool_error", str(error)) from None

    async def _virtual(self, tool: "Tool", operation: ApiOperation, key: str, arguments: Mapping[str, Any]) -> str:
        own = identity(tool)
        given = self._given.setdefault(_scope(tool), {})
        asked = f"{own} {key}"
        if _writes(operation):
            given.clear()
        elif asked in given:
            return given[asked]
        examples = self._cache.examples(own, key, MAX_EXAMPLES)
        if examples and examples[0].arguments == key:
            text = examples[0].reply
        else:
            text = await self._from_model(tool, operation, own, key, examples) or self._from_seed(
                tool, operation, key, arguments, examples
            )
        self._remember(tool, key, text)
        if not _writes(operation):
            given[asked] = text
        return text

    async def _from_model(
        self, tool: "Tool", operation: ApiOperation, own: str, key: str, examples: list[Example]
    ) -> str | None:
        """What a model writes, or wrote before for the same call after the same replies; None without a model."""
        writer = self._writer()
        if writer is None:
            return None
        earlier = self._earlier.get(_scope(tool), [])
        place = hash_of([own, key, self.settings.llm_model, show_earlier(earlier)])
        kept = self._cache.virtual(place)
        if kept is not None:
            return kept
        try:
            async with asyncio.timeout(self.settings.llm_timeout_s):
                text = await write_reply(writer, tool.spec, key, operation.response, examples, earlier)
        except (EndpointError, TimeoutError):
            return None
        return None if text is None else self._cache.add_virtual(place, own, key, text)

    def _writer(self) -> Writer | None:
        if self.writer is None and self.settings.llm_url:
            from mcpserver.mcp_config import expand
            from toolwright.chat import OpenAIChat

            settings = self.settings
            try:
                key = str(expand("llm_key", settings.llm_key))
                chat = OpenAIChat(settings.llm_url, settings.llm_model, key, max_tokens=2000, retries=2)
            except (ConfigError, EndpointError) as error:
                raise ToolError("tool_error", str(error)) from None
            self._stack.push_async_callback(chat.close)
            self.writer = chat
        return self.writer

    def _from_seed(
        self, tool: "Tool", operation: ApiOperation, key: str, arguments: Mapping[str, Any], examples: list[Example]
    ) -> str:
        """A document made from the schema, from the form of real replies, or from what the description says."""
        from mcpserver.api.generate import make_document
        from mcpserver.api.sampling import infer_schema

        values = [value for value in (read_value(example.reply) for example in examples) if value is not None]
        guessed = guess_schema(tool.spec, arguments)
        ways = (operation.response, infer_schema(values) if values else None, guessed)
        sent = {
            operation.places[name].name if name in operation.places else name: one for name, one in arguments.items()
        }
        for schema in ways:
            if schema is None:
                continue
            try:
                label = f"{identity(tool)} {key}"
                value = make_document(
                    schema, self._entities, kind=kind_of(operation), arguments={**sent, **arguments}, label=label
                )
                return json.dumps(value, ensure_ascii=False)
            except DataError:
                continue
        raise ToolError(
            "tool_error", f"no reply of {tool.spec.name} can be made: the schema of its replies allows none"
        )

    def _remember(self, tool: "Tool", key: str, text: str) -> None:
        earlier = self._earlier.setdefault(_scope(tool), [])
        earlier.append(Earlier(tool.spec.name, key, text))
        del earlier[:-MAX_HISTORY]
        assert tool.api is not None
        value = read_value(text)
        if value is not None:
            self._entities.learn_from(kind_of(tool.api), value)


def identity(tool: "Tool") -> str:
    """What the replies of a tool are kept under: the same for the same operation in any catalogue."""
    operation = tool.api
    assert operation is not None
    return hash_of(
        [operation.source.kind, tool.toolset, operation.name, operation.method, operation.path, tool.spec.parameters]
    )[:32]


def _scope(tool: "Tool") -> str:
    """The API that a tool belongs to: replies are to agree within it. A file of definitions holds many of them."""
    one_api = tool.api is not None and tool.api.source.kind == "openapi"
    return tool.category if one_api else f"{tool.category}/{tool.toolset}"


def kind_of(operation: ApiOperation) -> str:
    """The kind of thing that an operation is about: of ``/pets/{petId}`` or ``getPetById`` it is ``pet``."""
    parts = [part for part in operation.path.split("/") if part and "{" not in part]
    if parts:
        return singular(parts[-1])
    words = snake(operation.name).split("_by_")[0].split("_")
    rest = [word for word in words if not _VERB.fullmatch(word)]
    return singular("_".join(rest or words))


_VERB = re.compile(
    r"get|list|fetch|find|search|show|read|retrieve|create|add|post|put|update|set|delete|remove|all|the"
)


def _writes(operation: ApiOperation) -> bool:
    if operation.path:
        return operation.method in ("POST", "PUT", "PATCH", "DELETE")
    return _WRITES.search(snake(operation.name)) is not None
