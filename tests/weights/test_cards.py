"""Cards say what the registry says, and leave what people wrote around them."""

import json
import re

import pytest

from madn.errors import UserError
from madn.weights import cards, registry
from madn.weights.__main__ import main
from madn.weights.registry import Entry, Score

SCORE = Score("GoPro test | 4 pairs", "full", 4, {"psnr": 24.0}, {"psnr": 25.5}, "python -m madn.evaluate x")
ENTRY = Entry("net", "net.weights.h5", 3, "ab" * 32, "MIT; see LICENSE-X", "madn", "some\npairs", (SCORE,), "")
PROSE = "# Weights\n\n## `other`\n\nfirst\n\n## `net`: the one\n\nBy hand.\n\n## `third`\n\nlast\n"


def metadata(card: str) -> dict:
    """The front matter; each line's value is JSON."""
    head = card.split("---\n")[1]
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in head.splitlines())}


def test_the_readme_has_the_registrys_cards():
    # After a change by hand: python -c "from madn.weights import cards; cards.write_cards()"
    readme = (registry.folder() / cards.README).read_text(encoding="utf-8")
    assert cards.with_cards(readme, registry.entries()) == readme
    assert readme.count("<!-- card ") == readme.count("<!-- end of card -->") == len(registry.entries())


def test_a_card_is_put_below_its_heading_and_nothing_else_moves():
    once = cards.with_cards(PROSE, {"net": ENTRY})
    assert re.sub(r"\n<!-- card.*?end of card -->\n", "", once, flags=re.S) == PROSE
    assert once.index("## `net`: the one") < once.index("24.00 → 25.50") < once.index("By hand.")
    assert "| trained on | some pairs |" in once and "GoPro test \\| 4 pairs, full | 4 |" in once
    assert cards.with_cards(once, {"net": ENTRY}) == once
    assert cards.with_cards(once, {}) == PROSE.replace("the one\n", "the one\n\n", 1)


def test_a_new_entry_gets_a_section():
    added = cards.with_cards("# Weights\n", {"net": ENTRY})
    assert added.startswith("# Weights\n\n## `net`\n\n<!-- card net -->\n| | |\n")


def test_a_hugging_face_card_has_keras_metadata_scores_and_its_section_alone():
    card = cards.hugging_face_card(ENTRY, PROSE)
    found = metadata(card)
    assert found["library_name"] == "keras" and found["license"] == "mit"
    assert found["pipeline_tag"] == "image-to-image"
    (result,) = found["model-index"][0]["results"]
    assert result["dataset"] == {"type": "gopro", "name": SCORE.data}
    assert result["metrics"] == [{"type": "psnr", "name": "psnr", "value": 25.5}]
    assert "By hand." in card and "first" not in card and "last" not in card and "24.00 → 25.50" in card


def test_an_unmeasured_file_of_an_unknown_licence_says_so():
    entry = Entry("net", "net.weights.h5", 3, "ab" * 32, "in-house", "madn", "pairs")
    found = metadata(cards.hugging_face_card(entry))
    assert (found["license"], found["license_name"]) == ("other", "in-house") and "model-index" not in found
    assert "Not measured." in cards.card(entry)


def test_the_command_prepares_a_folder_and_refuses_one_in_use(tmp_path, capsys):
    out = tmp_path / "up"
    main(["card", "madn-srn", str(out)])
    assert {path.name for path in out.iterdir()} == {"README.md", "madn-srn.weights.h5", "LICENSE-SRN"}
    assert f"hf upload USER/madn-srn {out}" in capsys.readouterr().out
    assert registry.sha256_of(out / "madn-srn.weights.h5") == registry.find("madn-srn").sha256
    with pytest.raises(UserError, match="is there already"):
        main(["card", "madn-srn", str(out)])
    with pytest.raises(UserError, match="nothing-like-it"):
        main(["card", "nothing-like-it", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()
