"""Who writes questions: one protocol, and the scripted teacher, which needs no model.

The scripted teacher draws a blueprint, words it, and chooses the tools on offer; each question depends only on the
seed, its number and the attempt.
"""

from dataclasses import dataclass
from random import Random
from typing import Protocol

from data_gen.answers import write_answer
from data_gen.blueprints import Blueprint, Discard, Workshop, draw_blueprint, overlaps
from data_gen.phrasebook import spoken
from data_gen.similar import normalise
from data_gen.wording import write_request
from toolwright.records import Mode, Plan, Question, ToolSpec

SMALL_TALK = 0.15
NEAR_TOOLS = 0.5


@dataclass(frozen=True)
class Slot:
    """One question to be written: its number in the run, which attempt this is, and the mode it should have."""

    number: int
    attempt: int
    mode: Mode
    seed: int

    @property
    def id(self) -> str:
        """The question's id; sorts by number."""
        return f"q{self.number:06d}"

    @property
    def environment_seed(self) -> int:
        """Seed of the environment that the question is about."""
        return Random(f"{self.seed}/{self.number}/environment").randrange(2**31)

    def random(self) -> Random:
        """The attempt's own random generator."""
        return Random(f"{self.seed}/{self.number}/{self.attempt}")


class Teacher(Protocol):
    """Writes one question at a time; ``max_attempts`` says how often a question is tried before the run gives up."""

    @property
    def max_attempts(self) -> int:
        """Attempts for one question."""
        ...

    async def write(self, slot: Slot) -> Question:
        """A question for ``slot``.

        Raises:
            Discard: this attempt gave none; the reason is counted.
            EndpointError: the teacher's endpoint fails.
            ToolServerError: the tools are gone.
        """
        ...


@dataclass(frozen=True)
class ScriptedTeacher:
    """Verified plans in the words of the phrasebook."""

    shop: Workshop
    tools_per_question: tuple[int, int]
    max_attempts: int = 200

    async def write(self, slot: Slot) -> Question:
        """A question with its plan and the template of its answer."""
        rng = slot.random()
        blueprint = await draw_blueprint(self.shop, slot.mode, rng, slot.environment_seed)
        if slot.mode == "no_tool" and blueprint.values is None:
            text, answer = self._chat(rng)
        else:
            text, answer = write_request(self.shop, blueprint, rng), write_answer(self.shop, blueprint, rng)
        return Question(
            id=slot.id,
            text=text,
            tools=self._offer(blueprint, text, rng),
            seed=slot.environment_seed,
            mode=slot.mode,
            plan=blueprint.plan,
            answer=answer,
        )

    def _chat(self, rng: Random) -> tuple[str, str]:
        """Small talk, or a request that nobody here could fulfil."""
        book = self.shop.book
        if rng.random() < SMALL_TALK:
            return rng.choice(book.small_talk)
        text = rng.choice(book.out_of_scope)
        for name, words in book.fillers.items():
            text = text.replace(f"{{{name}}}", rng.choice(words))
        return text, rng.choice(book.refusals)

    def _offer(self, blueprint: Blueprint, text: str, rng: Random) -> tuple[str, ...]:
        """The needed tools and some others, none of which could do the same job, in random order."""
        plan, shop = blueprint.plan, self.shop
        needed = _needed(plan)
        subject = [shop.specs[name] for name in {*needed, *([plan.about] if plan.about else [])}]
        subject.sort(key=lambda spec: spec.name)
        others = [
            spec
            for spec in shop.tools
            if spec not in subject and not any(overlaps(shop, spec, other) for other in subject)
        ]
        if plan.mode == "no_tool":
            others = [spec for spec in others if not _shares_words(spec, text)] if not plan.about else others
        count = rng.randint(*self.tools_per_question)
        offered = list(needed)
        while others and len(offered) < count:
            near = [spec for spec in others if any(self._is_near(spec, other) for other in subject)]
            pick = rng.choice(near if near and rng.random() < NEAR_TOOLS else others)
            others.remove(pick)
            offered.append(pick.name)
        if not offered:
            raise Discard("no tool is left to offer")
        rng.shuffle(offered)
        return tuple(offered)

    def _is_near(self, a: ToolSpec, b: ToolSpec) -> bool:
        return self.shop.world.toolset(a.name) == self.shop.world.toolset(b.name)


def _needed(plan: Plan) -> list[str]:
    names = [call.name for call in plan.calls]
    if plan.mode == "missing_parameter" and plan.about:
        names.append(plan.about)
    return list(dict.fromkeys(names))


def _shares_words(spec: ToolSpec, text: str) -> bool:
    """Whether a tool might be meant: its name or description has a telling word of the request."""
    telling = {word for word in normalise(text).split() if len(word) > 3}
    return bool(telling & set(normalise(f"{spoken(spec.name)} {spec.description}").split()))
