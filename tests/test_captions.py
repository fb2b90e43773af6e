"""Captions: kept beside figures, replaced by newer ones, every source known."""

from pathlib import Path

import pytest

from clipsx import captions

KNOWN, BIBTEX = captions._known()


@pytest.mark.parametrize("name", KNOWN)
def test_every_caption_says_what_is_there_and_knows_its_sources(name: str) -> None:
    caption = KNOWN[name]
    assert caption.alt.endswith(".") and caption.see.endswith(".") and set(caption.sources) <= set(BIBTEX)
    assert all(f"{{{key}, " in text for key, text in BIBTEX.items())


def test_names_have_captions_without_their_number_and_by_their_kind() -> None:
    assert captions.of("13_depths") == captions.of("laboratory_depths") == KNOWN["depths"]
    assert captions.of("mine", "explain") == KNOWN["explain"] and captions.of("mine") is None


def test_a_file_beside_the_figures_keeps_all_of_them_and_what_a_user_wrote(tmp_path: Path) -> None:
    for see in ("One.", "Two."):
        file = captions.add(tmp_path, "b", captions.Caption("A picture.", see, ("unmix",)), "model m · data d")
    text = file.read_text()
    assert text.count("Made from: model m · data d\n") == 1
    assert "One." not in text and text.count("## b\n") == 1 and "@article{unmix" in text and "{clip," not in text
    file.write_text(text.replace("# Figures", "My own words.\n\n# Figures"))
    captions.add(tmp_path, "a", captions.Caption("Another.", "Three.", ("clip",)))
    text = file.read_text()
    assert text.startswith("My own words.") and "Alternative text: Another.\n\nCaption: Three.\n" in text
    assert text.index("## b") < text.index("## a") < text.index("## Sources") and text.count("```bibtex") == 1
