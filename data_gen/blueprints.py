"""Blueprints: the calls that answer a question, drawn, executed and verified before any words are written.

A blueprint that fails, because a call is refused or its mode does not hold, is discarded with a reason. All draws come
from one random generator, so a blueprint depends only on the seed and on the tools.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from data_gen import results
from data_gen.grounding import Facts, draw_arguments, load_facts
from data_gen.phrasebook import Chain, Phrasebook, load_phrasebook, spoken
from mcpserver.world import ToolWorld, Worlds
from toolwright.calls import canonical, check_arguments
from toolwright.records import Mode, Plan, Step, ToolCall, ToolSpec

SHARED_ARGUMENTS = 0.6
NEAR_MISS, OUT_OF_SCOPE = 0.55, 0.35
MAX_RESULT_CHARACTERS = 1200


class Discard(Exception):  # noqa: N818 - no error: one draw of many that is not used
    """A draft that cannot become a question; its text is the reason, counted in the funnel."""


@dataclass(frozen=True)
class Blueprint:
    """A verified plan; ``values`` are all arguments of the intended call, for the modes without calls."""

    plan: Plan
    chain: Chain | None = None
    values: ToolCall | None = None


@dataclass(frozen=True)
class Workshop:
    """What blueprints are made from; ``facts`` only where the tools are our own."""

    world: Worlds
    specs: Mapping[str, ToolSpec]
    book: Phrasebook
    facts: Facts | None

    @classmethod
    def open(cls, world: Worlds, *, own_tools: bool) -> "Workshop":
        """A workshop for these tools; ``own_tools`` are grounded in the base world."""
        specs = {spec.name: spec for spec in world.tools}
        return cls(world, specs, load_phrasebook(), load_facts() if own_tools else None)

    @property
    def tools(self) -> list[ToolSpec]:
        return list(self.specs.values())

    def draw_call(self, spec: ToolSpec, rng: Random) -> ToolCall:
        """A call with arguments that fit the schema.

        Raises:
            Discard: no such arguments were drawn.
        """
        call = ToolCall(name=spec.name, arguments=draw_arguments(spec, rng, self.facts))
        if check_arguments(spec, call.arguments):
            raise Discard("arguments do not fit the schema")
        return call


async def draw_blueprint(shop: Workshop, mode: Mode, rng: Random, seed: int) -> Blueprint:
    """Draw, execute and verify one blueprint of ``mode`` in a fresh environment.

    Raises:
        Discard: with the reason.
    """
    if mode == "no_tool":
        return await _without_calls(shop, seed, _draw_no_tool(shop, rng))
    if mode == "missing_parameter":
        return await _without_calls(shop, seed, _draw_missing(shop, rng))
    if mode == "dependent":
        return await _dependent(shop, rng, seed)
    calls = _CALLS[mode](shop, rng)
    if len({canonical(call) for call in calls}) < len(calls):
        raise Discard("the same call twice")
    answers, before, after = await _run(shop, seed, calls)
    if len(calls) > 1 and before != after:
        await _check_order(shop, seed, calls, answers, after)
    return Blueprint(Plan(mode=mode, steps=(Step(calls=tuple(calls), results=tuple(answers)),), state=after))


def _single(shop: Workshop, rng: Random) -> list[ToolCall]:
    return [shop.draw_call(rng.choice(shop.tools), rng)]


def _parallel(shop: Workshop, rng: Random) -> list[ToolCall]:
    spec = rng.choice([spec for spec in shop.tools if spec.parameters.get("properties")] or shop.tools)
    return [shop.draw_call(spec, rng) for _ in range(rng.choice((2, 2, 3)))]


def _multiple(shop: Workshop, rng: Random) -> list[ToolCall]:
    count = min(rng.choice((2, 2, 2, 3)), len(shop.tools))
    if count < 2:
        raise Discard("there is only one tool")
    specs = rng.sample(shop.tools, count)
    if any(overlaps(shop, a, b) for n, a in enumerate(specs) for b in specs[:n]):
        raise Discard("one tool could do the work of another")
    return [shop.draw_call(spec, rng) for spec in specs]


_CALLS: dict[Mode, Callable[[Workshop, Random], list[ToolCall]]] = {
    "single": _single,
    "parallel": _parallel,
    "multiple": _multiple,
}


def overlaps(shop: Workshop, a: ToolSpec, b: ToolSpec) -> bool:
    """Whether one of two tools could do the other's job, so that a question would have two right answers."""
    one, other = shop.book.of(a), shop.book.of(b)
    if one.written and other.written:
        return b.name in one.covers or a.name in other.covers
    words_a, words_b = set(f"{spoken(a.name)}".split()), set(f"{spoken(b.name)}".split())
    return len(words_a & words_b) / len(words_a | words_b) >= 0.75


async def _run(shop: Workshop, seed: int, calls: Sequence[ToolCall]) -> tuple[list[str], str | None, str | None]:
    """Results of the calls, one after the other in a fresh environment, and its state before and after."""
    async with shop.world.environment(seed) as environment:
        before = await environment.state()
        answers = [await execute(environment, call) for call in calls]
        return answers, before, await environment.state()


async def execute(environment: ToolWorld, call: ToolCall) -> str:
    """Run a call that a plan needs.

    Raises:
        Discard: it failed, or its result is too long to learn from.
    """
    result = await environment.call(call)
    if not result.ok:
        raise Discard(f"a call failed: {result.error}")
    if len(result.content) > MAX_RESULT_CHARACTERS:
        raise Discard("a result is too long")
    return result.content


async def _check_order(
    shop: Workshop, seed: int, calls: Sequence[ToolCall], answers: Sequence[str], state: str | None
) -> None:
    """Calls of one step run together: their order must not matter."""
    reverse, _, after = await _run(shop, seed, calls[::-1])
    if after != state or reverse[::-1] != list(answers):
        raise Discard("the order of the calls matters")


async def _dependent(shop: Workshop, rng: Random, seed: int) -> Blueprint:
    known = [chain for chain in shop.book.chains if {chain.first, chain.then} <= shop.specs.keys()]
    chain = rng.choice(known) if known else None
    first_spec = shop.specs[chain.first] if chain else rng.choice(shop.tools)
    async with shop.world.environment(seed) as environment:
        first = _fit(shop, shop.draw_call(first_spec, rng), chain.fitting.get("first", {}) if chain else {})
        answer = await execute(environment, first)
        chain, value = _take(answer, chain) if chain else _find_chain(shop, first_spec, answer, rng)
        second = shop.draw_call(shop.specs[chain.then], rng)
        shared = first.arguments.keys() & second.arguments.keys() if rng.random() < SHARED_ARGUMENTS else set()
        fitting = {name: first.arguments[name] for name in sorted(shared)}
        second = _fit(shop, second, {**fitting, **chain.fitting.get("then", {}), chain.parameter: value})
        steps = (
            Step(calls=(first,), results=(answer,)),
            Step(calls=(second,), results=(await execute(environment, second),)),
        )
        return Blueprint(Plan(mode="dependent", steps=steps, state=await environment.state()), chain=chain)


def _fit(shop: Workshop, call: ToolCall, fitting: dict[str, Any] | Any) -> ToolCall:
    arguments = {**call.arguments, **fitting}
    if check_arguments(shop.specs[call.name], arguments):
        raise Discard("the result does not fit the later call")
    texts = [value for name, value in arguments.items() if "unit" in name]
    if len(set(texts)) < len(texts):
        raise Discard("a conversion into the same unit")
    return ToolCall(name=call.name, arguments=arguments)


def _take(answer: str, chain: Chain) -> tuple[Chain, Any]:
    value = results.find_key(results.parse(answer), chain.key)
    if value is None:
        raise Discard("the result does not hold what the later call needs")
    return chain, value


def _find_chain(shop: Workshop, first: ToolSpec, answer: str, rng: Random) -> tuple[Chain, Any]:
    """A value of the result that some required parameter of another tool takes, by name."""
    found = []
    for path, value in results.find_values(results.parse(answer)):
        key = next((step for step in reversed(path) if isinstance(step, str)), None)
        for spec in shop.tools if key else ():
            for name in spec.parameters.get("required", ()):
                if spec.name != first.name and _same_thing(str(key), name, first):
                    found.append((Chain(first.name, str(key), spec.name, name, "from that result"), value))
    if not found:
        raise Discard("no other tool takes a value of the result")
    return rng.choice(found)


def _same_thing(key: str, parameter: str, first: ToolSpec) -> bool:
    words, wanted = spoken(key).split(), spoken(parameter).split()
    thing = spoken(first.name).split()[-1].rstrip("s")
    return words == wanted or [thing, *words] == wanted or words == [thing, *wanted]


async def _without_calls(shop: Workshop, seed: int, drawn: tuple[Plan, ToolCall | None]) -> Blueprint:
    plan, values = drawn
    async with shop.world.environment(seed) as environment:
        return Blueprint(plan.model_copy(update={"state": await environment.state()}), values=values)


def _draw_no_tool(shop: Workshop, rng: Random) -> tuple[Plan, ToolCall | None]:
    """A near miss has the call that would be right; other requests have none."""
    if rng.random() >= NEAR_MISS or len(shop.tools) < 2:
        return Plan(mode="no_tool"), None
    call = shop.draw_call(rng.choice(shop.tools), rng)
    return Plan(mode="no_tool", about=call.name), call


def _draw_missing(shop: Workshop, rng: Random) -> tuple[Plan, ToolCall]:
    spec = rng.choice([spec for spec in shop.tools if spec.parameters.get("required")] or [None])
    if spec is None:
        raise Discard("no tool has a required parameter")
    call = shop.draw_call(spec, rng)
    missing = rng.choice(list(spec.parameters["required"]))
    rest = {name: value for name, value in call.arguments.items() if name != missing}
    if not check_arguments(spec, rest):
        raise Discard("the call works without the parameter")
    return Plan(mode="missing_parameter", missing=missing, about=spec.name), call
