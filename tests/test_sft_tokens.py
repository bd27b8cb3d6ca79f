import copy
from typing import Any

import pytest
from families import family_tokenizer, make_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.tokens import _LINES, TokenBorderError, Tokens, _for_ascii, _may_be_cut_at_lines

MARKS = [
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "\n",
    " ",
    "  ",
    "assistant\n",
    "x",
    "é",
    "e\u0301",
    "don't",
    "12",
    "x\ny",
    '{"a": 1}\n{',
]
texts = st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=8)), max_size=12).map("".join)


@pytest.fixture(scope="module")
def fast() -> Tokens:
    tokens = Tokens(family_tokenizer("qwen2_5"))
    assert tokens.segmented
    assert tokens.by_words
    return tokens


def own_ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@settings(max_examples=300, deadline=None)
@given(text=texts)
def test_ids_are_the_tokenizers_own(fast: Tokens, text: str) -> None:
    assert fast.encode(text, [])[0].tolist() == own_ids(family_tokenizer("qwen2_5"), text)


@settings(max_examples=300, deadline=None)
@given(text=texts, data=st.data())
def test_a_cut_counts_the_tokens_that_the_text_before_it_has_alone(fast: Tokens, text: str, data: Any) -> None:
    at = data.draw(st.integers(0, len(text)))
    tokenizer = family_tokenizer("qwen2_5")
    before = own_ids(tokenizer, text[:at])
    try:
        ids, (count,) = fast.encode(text, [at])
    except TokenBorderError:
        assert own_ids(tokenizer, text)[: len(before)] != before
        return
    assert count == len(before)
    assert ids[:count].tolist() == before


def test_a_token_across_a_cut_is_named(fast: Tokens) -> None:
    with pytest.raises(TokenBorderError) as caught:
        fast.encode("<|im_end|>The weather", [len("<|im_end|>The we")])
    assert caught.value.token == " weather"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"lstrip": True}, id="a token that swallows blanks before it"),
        pytest.param({"rstrip": True}, id="a token that swallows blanks after it, as Phi-3's"),
        pytest.param({"single_word": True}, id="a token that must be a word of its own"),
    ],
)
def test_tokenizers_whose_tokens_reach_beyond_themselves_encode_the_whole_text(change: dict[str, bool]) -> None:
    from tokenizers import AddedToken

    tokenizer = copy.deepcopy(family_tokenizer("phi3"))
    tokenizer.backend_tokenizer.add_special_tokens([AddedToken("<|extra|>", special=True, normalized=False, **change)])
    tokens = Tokens(tokenizer)
    assert not tokens.segmented
    text = "<|user|>\nHi <|extra|> there<|end|>\n<|assistant|>\nHello.<|end|>\n"
    at = text.index("Hello.")
    ids, (count,) = tokens.encode(text, [at])
    assert ids.tolist() == own_ids(tokenizer, text)
    assert tokenizer.decode(ids[count:]).startswith("Hello.")


def test_a_sentencepiece_like_tokenizer_encodes_the_whole_text() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.BPE(unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    engine.train_from_iterator(["hello there what is this about you and me"] * 10, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    tokens = Tokens(tokenizer)
    assert not tokens.segmented
    text = "<s>hello there</s>what is this</s>"
    ids, (count,) = tokens.encode(text, [text.index("what")])
    assert ids.tolist() == own_ids(tokenizer, text)
    assert own_ids(tokenizer, text)[count - 1] == tokenizer.eos_token_id


def test_a_pattern_is_translated_for_ascii_only_where_every_class_is_known() -> None:
    assert _for_ascii(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}") == r"[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]{1,3}"
    assert _for_ascii(r"[\p{Lu}\p{M}]+") == "[A-Z]+"
    assert _for_ascii(r"\P{L}+") is None
    assert _for_ascii(r"\p{Greek}+") is None
    assert _for_ascii(r"\p{M}+") is None


def test_words_are_not_used_where_python_would_cut_them_otherwise() -> None:
    from tokenizers import Regex, pre_tokenizers

    tokenizer = make_tokenizer("{{ messages }}")
    backend = tokenizer.backend_tokenizer
    # In Oniguruma \h is a hexadecimal digit; Python's regex reads another class.
    split = pre_tokenizers.Split(Regex(r"\h+|[^\n]|\n"), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokens = Tokens(tokenizer)
    assert not tokens.by_words
    assert tokens.encode("face the beef\n  abc", [])[0].tolist() == own_ids(tokenizer, "face the beef\n  abc")


@settings(max_examples=300, deadline=None)
@given(text=texts)
def test_lines_are_a_text_in_pieces(text: str) -> None:
    assert "".join(_LINES.findall(text)) == text


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        pytest.param(
            r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", True, id="Qwen"
        ),
        pytest.param(r"'(?:[sdmt]|ll)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", True, id="GPT-2"),
        pytest.param(r"\s?\S+|\s+", False, id="a line break goes with the word after it"),
        pytest.param(r"[a-z]+\n[0-9]+|.|\n", False, id="a word over two lines"),
    ],
)
def test_text_is_cut_at_lines_only_where_no_word_goes_over_their_end(pattern: str, allowed: bool) -> None:
    import regex

    assert _may_be_cut_at_lines(regex.compile(pattern).findall) is allowed
