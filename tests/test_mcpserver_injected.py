"""What the dispatcher gives to a tool that declares a context, and no caller can supply."""

import asyncio

import pytest

from mcpserver.catalogue import make_tool
from mcpserver.context import Context
from mcpserver.environment import Environment
from toolwright.errors import DataError
from toolwright.records import ToolCall


def test_attachments_lie_among_the_files_and_count_in_the_state():
    async def go():
        offer = {"offer.txt": b"Price: 31 EUR/MWh"}
        async with (
            Environment.create(1, world="desk", attachments=offer) as environment,
            Environment.create(1, world="desk") as without,
        ):
            before = await environment.snapshot()
            text = await environment.call(ToolCall(name="read_file", arguments={"path": "attachments/offer.txt"}))
            return text.content, before, await environment.snapshot(), await without.snapshot()

    text, before, after, without = asyncio.run(go())
    assert text == '{"text": "Price: 31 EUR/MWh"}'
    assert before == after, "looking starts the sandbox and changes nothing"
    assert before.keys() - without.keys() == {"file:attachments/offer.txt"}


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a\nb"])
def test_an_attachment_with_no_plain_name_is_refused(name):
    with pytest.raises(DataError, match="attachment"):
        Environment.open(1, attachments={name: b"x"})


def ask_name(context: Context, greeting: str) -> str:  # noqa: D417 - the context is not shown
    """Ask the user for a name.

    Args:
        greeting: what to say first

    Example:
        {"greeting": "Hello"}
    """
    return context.ask_human(f"{greeting}, what is your name? ({len(context.attachments)} attachments)")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ask_human": lambda question: f"Ada to {question!r}"}, None, "Hello, what is your name? (1 attachments)"),
        ({}, "denied", "nobody is there to answer"),
    ],
)
def test_a_tool_asks_a_human_where_there_is_one(options, error, words):
    async def go():
        environment = Environment.open(1, attachments={"a.txt": b""}, **options)
        environment._tools = {"ask_name": make_tool(ask_name, "test", runs_in="server")}
        try:
            asked = await environment.call(ToolCall(name="ask_name", arguments={"greeting": "Hello"}))
            forged = {"greeting": "Hello", "context": {"seed": 1}}
            return asked, await environment.call(ToolCall(name="ask_name", arguments=forged))
        finally:
            await environment.aclose()

    asked, forged = asyncio.run(go())
    assert (asked.error, words in asked.content) == (error, True), asked.content
    assert forged.error == "bad_arguments"
    assert "context" in forged.content
