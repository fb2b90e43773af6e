"""Tokenizers of the classes that towers other than CLIP's need, with vocabularies of a few dozen tokens."""

import io
from pathlib import Path
from typing import Any

import transformers

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
CAPITALS = [letter.upper() for letter in LETTERS]
MERGES = [("c", "a"), ("ca", "t")]
LINES = ["a photo of a cat on the grass", "two dogs and a traffic light", "theres one boat in the scene"] * 40


def _numbered(*names: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def siglip(folder: Path) -> Any:
    """SigLIP's: sentencepiece, lower case and no punctuation of its own, padded with the end."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, vocab_size=60, model_type="unigram", pad_id=-1, bos_id=-1,
        eos_id=1, unk_id=2, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    file = folder / "spiece.model"
    file.write_bytes(model.getvalue())
    return transformers.SiglipTokenizer(str(file))


def gemma(_: Path) -> Any:
    """SigLIP 2's: no lower case of its own, an end and no start, padded with 0."""
    vocabulary = _numbered("<pad>", "<eos>", "<bos>", "<unk>", "▁", *LETTERS, *CAPITALS, ".", "ca", "cat")
    options = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}
    return transformers.GemmaTokenizer(vocab=vocabulary, merges=MERGES, **options)


def bert(_: Path) -> Any:
    """CLIPA's."""
    pieces = [f"##{letter}" for letter in LETTERS]
    return transformers.BertTokenizer(
        vocab=_numbered("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *pieces, "cat", "photo", ".")
    )


def roberta(_: Path) -> Any:
    """roberta's: capitals matter."""
    names = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", *LETTERS, *CAPITALS, "Ġ", ".", "ca", "cat")
    return transformers.RobertaTokenizer(vocab=_numbered(*names), merges=MERGES)


def xlm_roberta(_: Path) -> Any:
    """xlm-roberta's, and that of the worldwide models."""
    letters = [(letter, -3 - number / 10) for number, letter in enumerate([*LETTERS, *CAPITALS])]
    starts = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return transformers.XLMRobertaTokenizer(vocab=[*starts, *letters, ("▁cat", -1.0), (".", -4.0), ("<mask>", 0.0)])


def t5(_: Path) -> Any:
    """mt5's."""
    letters = [(letter, -3 - number / 10) for number, letter in enumerate([*LETTERS, *CAPITALS])]
    starts = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return transformers.T5Tokenizer(vocab=[*starts, *letters, ("▁cat", -1.0), (".", -4.0)], extra_ids=0)


def nllb(_: Path) -> Any:
    """nllb's: the language stands first."""
    names = ("<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, *CAPITALS, ".", "ca", "cat")
    return transformers.NllbTokenizer(vocab=_numbered(*names), merges=MERGES, src_lang="eng_Latn")
