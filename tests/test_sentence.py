"""The words of a sentence: how tokens are joined, what is cut, and which towers refuse."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import clipsx
from clipsx.sentence import spell
from helpers import TEXT, tiny_clip, tokenizer, unchecked


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(layers=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat's umbrella,on the beach!!", "A cat's umbrella , on the beach !!"),
        ("a t-shirt — size 42", "a t-shirt — size 42"),
        ("traffic_light", "traffic _ light"),
        ("rock 'n' roll (live)", "rock ' n ' roll ( live )"),
        ("naïve हिन्दी 猫が好き 😀❤️", "naïve हिन्दी 猫が好き 😀❤️"),
        ("  \n ", ""),
    ],
)
def test_spelling(text: str, expected: str) -> None:
    found = list(spell(text))
    assert [word for _, _, word, _ in found] == expected.split()
    assert all(text[start:stop] == word for start, stop, word, _ in found)
    assert all((kind == "word") == any(c.isalnum() for c in word) for _, _, word, kind in found)


def test_a_words_feature_is_the_unit_mean_of_its_tokens(clip: clipsx.Clip) -> None:
    text = "A naïve supercalifragilistic cat's boat!"
    pieces, tokens = clip.encode_tokens(text)
    sentence = clip.encode_words(text)
    assert sentence.words[1:-1] == ("A", "naïve", "supercalifragilistic", "cat's", "boat", "!")
    assert sentence.kinds == ("start", *["word"] * 5, "punctuation", "end")
    assert [piece for found in sentence.pieces for piece in found] == pieces  # each token once, in order
    spelled = "".join("".join(found) for found in sentence.pieces[2:-1])
    assert spelled == "naïvesupercalifragilisticcat'sboat!"
    first = 0
    for feature, found in zip(sentence.features, sentence.pieces, strict=True):
        each = [tokens[first + n] for n in range(len(found))]
        expected = torch.stack(each).sum(0) / len(each)
        torch.testing.assert_close(feature, expected / expected.norm(), atol=1e-6, rtol=0)
        first += len(found)
    torch.testing.assert_close(sentence.features[-1], clip.encode_text([text])[0], atol=1e-6, rtol=0)
    assert sentence.places() == [1, 2, 3, 4, 5] and sentence.places("start", "end") == [0, 7]
    assert sentence.how == "words in their sentence" and not sentence.cut + sentence.dropped


def test_a_word_does_not_depend_on_what_follows_it(clip: clipsx.Clip) -> None:
    one, other = clip.encode_words("a red boat"), clip.encode_words("a red boat and a fish")
    torch.testing.assert_close(one.features[:-1], other.features[:4], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("traffic light", [2, 3]), ("traffic_light", [2, 3]), ("Cat", [6]), ("light", [3]), ("cats", []), ("", [])],
)
def test_a_name_is_found_among_the_words_and_read_as_one(clip: clipsx.Clip, name: str, expected: list[int]) -> None:
    sentence = clip.encode_words("a traffic light, a cat and a cat")
    assert sentence.find(name) == expected
    one = sentence.together(expected)
    if len(expected) < 2:
        assert one is sentence
        return
    assert one.words[2] == "traffic light" and one.find(name) == [2] and one.find("light") == []
    assert len(one.words) == len(one.kinds) == len(one.pieces) == len(one.features) == len(sentence.words) - 1
    both = sentence.features[expected].mean(0)
    torch.testing.assert_close(one.features[2], F.normalize(both, dim=-1), atol=1e-6, rtol=0)
    assert torch.equal(one.features[3:], sentence.features[4:])


ROOM = TEXT["context_length"] - 2


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("cat " * ROOM, ()),
        ("cat " * ROOM + "boat", ("boat",)),
        ("cat " * (ROOM - 3) + "supercalifragilistic boat", ("supercalifragilistic", "boat")),
        ("cat " * 500, ("cat",) * (500 - ROOM)),
    ],
)
def test_words_beyond_the_context_are_named(clip: clipsx.Clip, text: str, cut: tuple[str, ...]) -> None:
    if cut:
        with pytest.warns(UserWarning, match=f"longer than the model's {ROOM + 2} tokens; not read: '{cut[0]}'"):
            sentence = clip.encode_words(text)
    else:
        sentence = clip.encode_words(text)
    assert sentence.cut == cut
    assert sentence.words[1:-1] == tuple(text.split())[: len(text.split()) - len(cut)]
    torch.testing.assert_close(
        sentence.features[1:-1], clip.encode_words("cat " * ROOM).features[1 : len(sentence.words) - 1]
    )


class Other:
    """A tokenizer of another make: lists as long as they come, one token for "red boat", none for commas."""

    takes = False

    def __call__(self, texts: list[str], **options: object) -> Any:
        if options and not self.takes:
            raise TypeError(options)
        rows = []
        for text in texts:
            words = text.replace(",", " ").replace("red boat", "redboat").split()
            rows.append([1, *(2 + sum(map(ord, word)) % 1000 for word in words), 49407])
        return {"input_ids": rows}

    def decode(self, ids: list[int]) -> str:
        return str(ids[0])


def test_any_tokenizer(clip: clipsx.Clip) -> None:
    other = clipsx.Clip(clip.model, clip.preprocess, Other())
    sentence = other.encode_words("a cat, a red boat")
    assert sentence.words == ("1", "a", "cat", "a", "red boat", "49407") and sentence.dropped == (",",)
    assert [len(found) for found in sentence.pieces] == [1] * 6
    with pytest.warns(UserWarning, match="'h' and 2 more"):
        long = other.encode_words("cat " * 34 + "sun moon star a b c d e f boat g h i j")
    assert len(long.words) == ROOM + 2 and long.cut[0] == "b"


class Fixed:
    """A tokenizer that always cuts at the context, and cannot be asked for more."""

    def __call__(self, texts: list[str]) -> torch.Tensor:
        return tokenizer()(texts)

    decode = staticmethod(lambda ids: tokenizer().decode(ids))


def test_a_tokenizer_that_does_not_tell_what_it_cuts(clip: clipsx.Clip) -> None:
    fixed = clipsx.Clip(clip.model, clip.preprocess, Fixed())
    assert fixed.encode_words("cat " * (ROOM - 1)).cut == ()
    with pytest.warns(UserWarning, match="not read"):  # it may be half a word
        assert fixed.encode_words("cat " * (ROOM - 1) + "boat").cut == ("boat",)


def test_the_end_token_typed_ends_the_sentence(clip: clipsx.Clip) -> None:
    sentence = clip.encode_words("cat <end_of_text> dog")
    assert sentence.words[1:-1] == ("cat",) and sentence.dropped[-1] == "dog"


def test_towers_that_are_not_causal_read_words_alone(clip: clipsx.Clip) -> None:
    assert clip.reads_words and clip.encode_words("").kinds == ("start", "end")
    other = tiny_clip(layers=1)
    other.model.attn_mask = None
    assert not other.reads_words
    with pytest.raises(ValueError, match=r"not a causal text tower.* alone=True"):
        other.encode_words("a cat")
    sentence = other.encode_words("a cat, and a boat", alone=True)
    assert sentence.words == ("a", "cat", "and", "a", "boat", "(the whole text)") and sentence.how == "each word alone"
    torch.testing.assert_close(sentence.features[1], other.encode_text(["cat"])[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(sentence.features[-1], other.encode_text(["a cat, and a boat"])[0], atol=1e-6, rtol=0)


def test_what_is_no_text_is_refused(clip: clipsx.Clip) -> None:
    with unchecked(), pytest.raises(TypeError, match="must be a text"):
        clip.encode_words(["a cat"])  # type: ignore[arg-type]
