"""Finds, in the text of a rendered conversation, what the model itself would write: each assistant turn.

The exact way is the definition. For every turn it renders the prompt that a server would be given at that moment, and
the conversation up to the turn; the turn is what the latter adds. Where the whole conversation does not begin with
that text, the template rewrites history, and the policy decides (``TrainPolicy.history``).

The quick way renders once, with a template that tells where messages begin. It is used for conversations that consist
of forms (``_forms``) for which the exact way gave the same before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sft.frame import EncodeError, Ending, Frame, Kind, common_length
from sft.reading import require_same_message
from toolwright.errors import ModelError
from toolwright.records import Conversation, Message
from toolwright.words import shorten

History = Literal["split", "stable", "as_rendered"]


@dataclass(frozen=True)
class Turn:
    """Characters ``start:end`` of the rendered text are what the model writes as ``message``, terminator included."""

    message: int
    start: int
    end: int


@dataclass(frozen=True)
class Rendered:
    """One row: the template's text of a conversation's first ``stop`` messages, and the turns to train in it.

    ``joined``: a served prompt and the turn that follows it, which the template never renders together.
    ``lost`` counts turns that are wanted but stand in no row (``history=stable``).
    """

    text: str
    turns: tuple[Turn, ...]
    stop: int
    joined: bool = False
    lost: int = 0


def name_of(conversation: Conversation) -> str:
    """How errors name a conversation."""
    return f"conversation {conversation.id!r}" if conversation.id else "conversation"


def find_rows(conversation: Conversation, frame: Frame, wanted: Sequence[int], history: History) -> list[Rendered]:
    """The rows in which each turn of ``wanted`` (indices of assistant messages) stands exactly once.

    Raises:
        EncodeError: a turn that the template cannot express as a server would see it, or one that does not read back
            as the message that it was made from.
    """
    if history == "as_rendered":
        return [_as_rendered(conversation, frame, wanted)]
    forms = _forms(conversation, frame)
    if forms <= frame.known:
        quick = _quick(conversation, frame, wanted)
        if quick is not None:
            return [quick]
    rows = exact_rows(conversation, frame, wanted, history)
    every = len(wanted) == sum(message.role == "assistant" for message in conversation.messages)
    if history == "split" and every and len(rows) == 1:  # the quick way never gives several rows
        _learn_leads(conversation, frame, rows)
        if [_quick(conversation, frame, wanted)] == rows:
            frame.known |= forms
    return rows


def exact_rows(
    conversation: Conversation, frame: Frame, wanted: Sequence[int], history: History = "split"
) -> list[Rendered]:
    """The rows by rendering the prompt of every turn; as ``find_rows``."""
    served = [_serve(conversation, frame, index) for index in wanted]
    whole = _whole(conversation, frame)
    rows = [_row(whole, [turn for turn in served if whole.startswith(turn.text)], len(conversation.messages))]
    pending = [turn for turn in served if not whole.startswith(turn.text)]
    if history == "stable":
        if pending and not rows[0].turns:
            where = name_of(conversation)
            raise EncodeError(f"{where}: the chat template rewrites every turn; train with sft.history=split")
        return [replace(rows[0], lost=len(pending))]
    while pending:
        text, stop, joined = pending[-1].whole, pending[-1].turn.message + 1, pending[-1].joined
        rows.append(_row(text, [turn for turn in pending if text.startswith(turn.text)], stop, joined))
        pending = [turn for turn in pending if not text.startswith(turn.text)]
    return [row for row in rows if row.turns]


@dataclass(frozen=True)
class _Served:
    """One turn as it is served: ``text`` is its prompt and the turn, ``whole`` the render up to its message.

    ``joined``: the template renders the turn after another text than its prompt, so the two were put together.
    """

    turn: Turn
    text: str
    whole: str
    joined: bool


def _serve(conversation: Conversation, frame: Frame, index: int) -> _Served:
    messages, where = conversation.messages, f"{name_of(conversation)}: messages[{index}]"
    if index == 0:
        raise EncodeError(f"{where}: nothing comes before this assistant message; begin with system or user")
    prompt = _render(conversation, frame, index, where, prompt=True)
    text = _render(conversation, frame, index + 1, where)
    joined = not text.startswith(prompt)
    if joined:
        text = prompt + _completion(conversation, frame, index, prompt, text, where)
    ending = frame.endings[_kind_of(messages[index])]
    end = _end(text, len(prompt), ending, where)
    body = text[len(prompt) : end - len(ending.terminator)]
    require_same_message(prompt, body, messages[index], conversation.tools, frame, where)
    return _Served(Turn(index, len(prompt), end), text[:end], text, joined)


def _completion(conversation: Conversation, frame: Frame, index: int, prompt: str, text: str, where: str) -> str:
    """What the model writes as message ``index``, from a render that shows what is before it otherwise than served.

    gpt-oss, for one, shows the reasoning of a call until there is an answer, and in the render with the answer no more.
    """
    lead = prompt.removeprefix(_render(conversation, frame, index, where, bare=True))
    if frame.marked is not None and lead != prompt:
        start = frame.starts(conversation.messages[: index + 1], conversation.tools)[1].get(index)
        if start is not None and text.startswith(lead, start):
            return text[start + len(lead) :]
    raise EncodeError(f"{where}: {_not_served(prompt, text)}")


def _not_served(prompt: str, text: str) -> str:
    at = common_length(prompt, text)
    return (
        f"the chat template does not render this turn as it is served: the prompt has {prompt[at : at + 40]!r} where "
        f"the rendered conversation has {text[at : at + 40]!r}. Set what differs (sft.template_kwargs, such as "
        "{enable_thinking: false}), add the reasoning, or train what is rendered: sft.history=as_rendered"
    )


def _end(text: str, start: int, ending: Ending, where: str) -> int:
    body = text.removesuffix(ending.tail)
    if len(body) < start + len(ending.terminator) or not body.endswith(ending.terminator):
        raise EncodeError(f"{where}: the turn ends with {text[start:][-20:]!r}, not with {ending.terminator!r}")
    return len(body)


def _row(text: str, served: Sequence[_Served], stop: int, joined: bool = False) -> Rendered:
    return Rendered(text, tuple(turn.turn for turn in served), stop, joined)


def _whole(conversation: Conversation, frame: Frame) -> str:
    return _render(conversation, frame, len(conversation.messages), name_of(conversation))


def _render(
    conversation: Conversation, frame: Frame, stop: int, where: str, *, prompt: bool = False, bare: bool = False
) -> str:
    """The text of the first ``stop`` messages, with the terminator that the last one may borrow unless ``bare``."""
    messages = conversation.messages[:stop]
    try:
        text = frame.render_quickly(messages, conversation.tools, prompt=prompt)
    except ModelError as error:
        raise EncodeError(f"{where}: {error}") from None
    return text if prompt or bare else text + borrowed(messages[-1], frame)


def borrowed(last: Message, frame: Frame) -> str:
    """The terminator that a render lacks which ends with the message ``last``."""
    ending = frame.endings[_kind_of(last)]
    return ending.terminator if last.role == "assistant" and ending.borrowed else ""


def _kind_of(message: Message) -> Kind:
    return "call" if message.tool_calls else "text"


# --- the quick way -------------------------------------------------------------------------------------------------


def _forms(conversation: Conversation, frame: Frame) -> set[object]:
    """What a template's way through a conversation depends on: the form of each message beside its neighbours."""
    messages = conversation.messages
    roles = ["", *(message.role for message in messages), ""]
    forms: set[object] = set()
    thinks = False
    for number, message in enumerate(messages):
        content, reasoning = message.content or "", message.reasoning_content
        tested = bool(frame.tested.search(content)) or bool(reasoning and frame.tested.search(reasoning))
        calls = min(len(message.tool_calls), 2)
        thinks = thinks or bool(reasoning)
        forms.add(
            (*roles[number : number + 3], bool(content) and not content.isspace(), bool(reasoning), calls, tested)
        )
    forms.add((bool(conversation.tools), thinks, min(roles.count("user"), 3), min(roles.count("tool"), 3)))
    return forms


def _quick(conversation: Conversation, frame: Frame, wanted: Sequence[int]) -> Rendered | None:
    """The row by one marked render; none where something is not as it was learned."""
    if frame.marked is None:
        return None
    messages = conversation.messages
    text, starts = frame.starts(messages, conversation.tools)
    text += borrowed(messages[-1], frame)
    turns = []
    for index in wanted:
        lead = frame.leads.get(messages[index - 1].role)
        if lead is None or index not in starts or not text.startswith(lead, starts[index]):
            return None
        start = starts[index] + len(lead)
        after = starts.get(index + 1, len(text))
        ending = frame.endings[_kind_of(messages[index])]
        end = text.rfind(ending.terminator, start, after + len(ending.terminator)) + len(ending.terminator)
        rest = text[end:after].strip()
        if end <= start or (rest and rest != ending.tail.strip()):
            return None
        body = text[start : end - len(ending.terminator)]
        try:
            require_same_message(text[:start], body, messages[index], conversation.tools, frame, "")
        except EncodeError:
            return None  # the exact way says what is wrong, or finds the turn elsewhere
        turns.append(Turn(index, start, end))
    return Rendered(text, tuple(turns), len(messages))


def _learn_leads(conversation: Conversation, frame: Frame, rows: Sequence[Rendered]) -> None:
    """Learn, from exact rows, what stands between the start of an assistant message and what the model writes."""
    if frame.marked is None:
        return
    _, starts = frame.starts(conversation.messages, conversation.tools)
    for turn in rows[0].turns:
        at = starts.get(turn.message)
        if at is not None and at <= turn.start:
            frame.leads.setdefault(conversation.messages[turn.message - 1].role, rows[0].text[at : turn.start])


# --- the whole render as it is ---------------------------------------------------------------------------------------


def _as_rendered(conversation: Conversation, frame: Frame, wanted: Sequence[int]) -> Rendered:
    """The turns as they stand in the whole render, whatever a server would have shown before them."""
    messages, where = conversation.messages, name_of(conversation)
    if frame.marked is None:
        raise EncodeError(f"{where}: sft.history=as_rendered cannot find messages in this chat template; use split")
    whole = _whole(conversation, frame)
    _, starts = frame.starts(messages, conversation.tools)
    turns = []
    for index in wanted:
        here = f"{where}: messages[{index}]"
        if index not in starts or index == 0:
            raise EncodeError(f"{here}: cannot be found in the text of the chat template; use sft.history=split")
        ending = frame.endings[_kind_of(messages[index])]
        after = starts.get(index + 1, len(whole))
        end, terminator = _last_terminator(whole, starts[index], after, ending, frame)
        start = starts[index] + _header(
            conversation, frame, index, whole[: starts[index]], whole[starts[index] : after]
        )
        if end <= start:
            raise EncodeError(f"{here}: the turn has no terminator: {shorten(whole[starts[index] : after])}")
        body = whole[start : end - len(terminator)]
        require_same_message(whole[:start], body, messages[index], conversation.tools, frame, here, reasoning=False)
        turns.append(Turn(index, start, end))
    return Rendered(whole, tuple(turns), len(messages))


def _last_terminator(text: str, start: int, after: int, ending: Ending, frame: Frame) -> tuple[int, str]:
    """Where the last terminator between ``start`` and ``after`` ends, and which it is; a turn may borrow its own."""
    stop = after + (len(ending.terminator) if ending.borrowed else 0)
    tokens = {ending.terminator, *(each.terminator for each in frame.endings.values())}
    places = [(text.rfind(token, start, stop), token) for token in tokens]
    at, token = max(places)
    return (at + len(token), token) if at >= 0 else (0, "")


def _header(conversation: Conversation, frame: Frame, index: int, before: str, region: str) -> int:
    """How many characters of ``region``, which follows ``before``, the prompt supplies; cut at an added token."""
    where = f"{name_of(conversation)}: messages[{index}]"
    prompt = _render(conversation, frame, index, where, prompt=True)
    known = before if prompt.startswith(before) else _render(conversation, frame, index, where, bare=True)
    lead = prompt.removeprefix(known)
    common = common_length(lead, region)
    borders = {0, len(lead), *(place for match in frame.added.finditer(lead) for place in match.span())}
    return max(border for border in borders if border <= common)
