"""The papers' tables against their own arithmetic and their texts (MADN: the specification's oracle 22), and beside
results."""

import json
import re

import numpy as np
import pytest

from madn import recipes
from madn.errors import UserError
from madn.papers import published
from madn.papers.results import find_results
from madn.papers.tables import FACTS, OFFICIAL, canonical_method

PUBLISHED = published.load()
FOUR = [names[0] for names in PUBLISHED["madn"]["table 3"]["images"].values()]
MADN, SISNET, GUIDED, MSR2B, EGNET = (
    PUBLISHED[name] for name in ("madn", "sisnet", "structure_guided", "msr2b", "egnet")
)


def rows(table: dict) -> dict:
    return {method: values for method, values in table.items() if method not in FACTS}


def ranking(table: dict, metric: str, column: int | None = None) -> list[str]:
    """Methods, the highest value first."""
    values = {method: row[metric] if column is None else row[metric][column] for method, row in rows(table).items()}
    return sorted((method for method in values if values[method] is not None), key=lambda method: -values[method])


@pytest.mark.parametrize("paper", published.PAPERS)
def test_every_table_is_whole_and_plausible(paper):
    plausible = {
        "psnr": (18, 36),
        "ssim": (0.5, 1),
        "ssim_matlab": (0.5, 1),
        "seconds": (0.02, 1600),
        "score": (1, 10),
        "gflops": (1, 2000),
        "size": (1, 100),
        "hsic": (1, 2),
    }
    tables = {name: table for name, table in PUBLISHED[paper].items() if name.startswith("table")}
    assert tables and PUBLISHED[paper]["paper"] and PUBLISHED[paper]["slips"]
    for name, table in tables.items():
        metrics = [tuple(row) for row in rows(table).values()]
        assert len(set(metrics)) == 1, f"{paper} {name}: every method has the same metrics"
        for method, row in rows(table).items():
            for metric, values in row.items():
                if isinstance(values, list):
                    assert len(values) == len(table["columns"]), f"{paper} {name}: {method} {metric}"
                low, high = plausible[metric]
                listed = values if isinstance(values, list) else [values]
                assert all(low <= value <= high for value in listed if value is not None), f"{paper} {name}: {method}"


@pytest.mark.parametrize("method", ["Whyte", "Sun", "Nah", "MADN"])
@pytest.mark.parametrize(("metric", "rounding"), [("psnr", 5e-4), ("ssim_matlab", 5e-5)])
def test_averages_of_table_3(method, metric, rounding):
    *images, average = MADN["table 3"][method][metric]
    assert len(images) == 4
    assert np.mean(images) == pytest.approx(average, abs=rounding * 1.01)


def test_gains_that_the_text_claims():
    table = MADN["table 4"]
    psnr, ssim = (
        {name: table["MADN"][key] - table[name][key] for name in ("Sun", "Nah")} for key in ("psnr", "ssim_matlab")
    )
    assert np.mean(list(psnr.values())) == pytest.approx(3.32, abs=5e-3)
    assert np.mean(list(ssim.values())) == pytest.approx(0.053, abs=5e-4)
    assert psnr["Nah"] == pytest.approx(1.1) and ssim["Nah"] == pytest.approx(0.0177)
    # the slips
    assert MADN["table 3"]["Sun"]["ssim_matlab"][-1] > MADN["table 3"]["Whyte"]["ssim_matlab"][-1]
    assert table["Sun"]["ssim_matlab"] < table["Whyte"]["ssim_matlab"]


def test_sisnets_tables_against_its_text():
    gopro, kohler = SISNET["table 3"], SISNET["table 4"]
    assert ranking(gopro, "psnr")[:3] == ["SIS-Net", "SRN", "SIUN"]
    assert ranking(kohler, "psnr")[0] == "SIS-Net"
    assert ranking(SISNET["table 2"], "psnr") == ["SIS-Net", "NoPloss", "Nosis", "Nolatent"]
    assert ranking(gopro, "seconds")[-1] == "SIS-Net"
    for metric in ("psnr", "ssim"):
        assert SISNET["table 2"]["SIS-Net"][metric] == gopro["SIS-Net"][metric]
    # the slips
    assert ranking(gopro, "ssim")[0] == "SRN" and gopro["Yuan"]["ssim"] == gopro["EG-GAN"]["ssim"]
    assert ranking(kohler, "ssim")[:2] == ["Chi", "SRN"]
    assert kohler["SIS-Net"]["ssim"] == kohler["DeblurGAN-v2"]["ssim"]
    assert 1 - gopro["SIS-Net"]["seconds"] / gopro["SRN"]["seconds"] == pytest.approx(0.77, abs=5e-3)


@pytest.mark.parametrize("method", rows(GUIDED["table 2"]))
def test_average_scores_of_structures_guided(method):
    *scores, average = GUIDED["table 2"][method]["score"]
    assert np.mean(scores) == pytest.approx(average, abs=0.0501)


def test_structures_guideds_tables_against_its_text():
    ours = "Structures Guided"
    table, speed, loss, blocks = (GUIDED[f"table {k}"] for k in (1, 3, 4, 5))
    for metric in ("psnr", "ssim"):
        assert all(ranking(table, metric, column)[0] == ours for column in (0, 1))
        assert table[ours][metric][0] == loss[ours][metric] == blocks[ours][metric]
    assert ranking(loss, "psnr")[0] == ranking(blocks, "psnr")[0] == ours
    # the slips
    assert speed[ours]["seconds"] > speed["DeblurGAN-v2"]["seconds"]
    assert ranking(blocks, "ssim")[:2] == ["without MBRBs", ours]
    elsewhere = {"Nah": "DeepDeblur", "Gong": "Gong", "DeblurGAN": "DeblurGAN", "DeblurGAN-v2": "DeblurGAN-v2"}
    gaps = [SISNET["table 4"][theirs]["psnr"] - table[here]["psnr"][1] for here, theirs in elsewhere.items()]
    assert min(gaps) == pytest.approx(4.7, abs=0.05) and max(gaps) == pytest.approx(7.0, abs=0.05)


def test_msr2bs_tables_against_its_text():
    blocks, table = MSR2B["table 1"], MSR2B["table 2"]
    assert blocks["MSR2B"]["psnr"] - blocks["ResNet"]["psnr"] == pytest.approx(1.02)
    assert blocks["MSR2B"]["ssim"] - blocks["ResNet"]["ssim"] == pytest.approx(0.017)
    for metric in ("psnr", "ssim"):
        assert blocks["MSR2B"][metric] == table["MSR2B"][metric][0]
        assert all(ranking(table, metric, column)[0] == "MSR2B" for column in (0, 1))
    # the slips
    assert 1 - table["MSR2B"]["seconds"] / table["Kupyn"]["seconds"] == pytest.approx(0.47, abs=5e-3)
    gains = {
        (method, metric): 100 * (table["MSR2B"][metric][1] / table[method][metric][1] - 1)
        for method in ("Nah", "Kupyn")
        for metric in ("psnr", "ssim")
    }
    assert gains == pytest.approx(
        {("Nah", "psnr"): 3.4, ("Nah", "ssim"): 4.0, ("Kupyn", "psnr"): 2.9, ("Kupyn", "ssim"): 4.2}, abs=0.05
    )
    sizes, field = [], []
    for strides in ((2, 2, 2, 1, 1), (2, 2, 2, 2, 1)):  # five convolutions of kernel 4, padding 1
        size, patch = 256, 1
        for stride in strides:
            size = (size + 2 - 4) // stride + 1
        for stride in reversed(strides):
            patch = (patch - 1) * stride + 4
        sizes.append(size)
        field.append(patch)
    assert sizes == [30, 15] and field == [70, 94]


def test_egnets_tables_agree_with_one_another():
    table, inputs, ablation, loss = (EGNET[f"table {k}"] for k in (1, 3, 4, 6))
    for metric in ("psnr", "ssim"):
        assert all(ranking(table, metric, column)[0] == "EGNet" for column in range(3))
        digits = 2 if metric == "psnr" else 3
        assert inputs["EGNet"][metric][0] == pytest.approx(ablation["with EGN"][metric], abs=0.501 * 10**-digits)
        realblur_j, realblur_r = table["EGNet"][metric][1:]
        assert loss["with gradient loss"][metric] == pytest.approx([realblur_r, realblur_j], abs=0.501 * 10**-digits)
    # what the ablations leave of the whole
    assert ablation["with EGN"]["psnr"] - ablation["without EGN"]["psnr"] == pytest.approx(0.40)
    attention, plain = inputs["EGNet"]["psnr"]
    assert attention - plain == pytest.approx(0.0096, abs=1e-6)
    assert attention - max(inputs[name]["psnr"][0] for name in inputs if name[:3] in ("add", "mul")) < 0.0163
    # the slips
    assert table["MPRNet"]["psnr"][0] - ablation["without EGN"]["psnr"] == pytest.approx(0.14)
    assert EGNET["table 2"]["MPRNet"]["size"] == round(20_127_073 / 1e6, 2)


def test_claims_are_the_tables():
    claims = PUBLISHED["claims"]
    speed, count = GUIDED["table 3"]["Structures Guided"], EGNET["table 2"]
    assert f"{speed['gflops']} GFLOPs and {speed['seconds']} s" in claims["structure_guided"]["claim"]
    assert f"{SISNET['table 3']['SIS-Net']['seconds']} s" in claims["sisnet"]["claim"]
    assert f"{MSR2B['table 2']['MSR2B']['seconds']} s" in claims["msr2b"]["claim"]
    for recipe, method in (("egnet", "EGNet"), ("egnet-backbone", "MPRNet")):
        assert f"{count[method]['size']:.2f} million" in claims[recipe]["claim"]
        assert f"{count[method]['seconds']} s" in claims[recipe]["claim"]


def test_every_table_names_its_data_and_its_recipes():
    used = set()
    for name in published.PAPERS:
        for which in published.tables(name):
            shown = published.table(name, which)
            sides = (
                shown.data,
                shown.pairs,
                shown.images,
                *shown.recipes.values(),
                *(values for row in shown.rows.values() for values in row.values()),
            )
            assert {len(side) for side in sides} == {len(shown.columns)}, f"{name} {which}"
            measured = shown.scored or any(shown.timed)
            assert all(data in PUBLISHED["data"] for data in shown.data) if measured else set(shown.data) == {None}
            assert bool(shown.recipes) == measured and set(shown.recipes) <= set(shown.rows)
            assert set(PUBLISHED[name].get("names", ())) <= {
                row for each in published.tables(name) for row in published.table(name, each).rows
            }
            used |= {recipe for columns in shown.recipes.values() for names in columns for recipe in names}
    assert used <= set(recipes.named())
    assert set(published.PAPERS) < used
    # a recipe whose line says Table N of its paper is in that table
    for recipe, entry in recipes.named().items():
        if "Table " in entry.summary:
            which = "table " + entry.summary.split("Table ")[1][0]
            columns = published.table(recipe.split("-")[0], which).recipes.values()
            assert any(recipe in names for column in columns for names in column), recipe
    with pytest.raises(UserError, match="no paper 'mdan'; there is madn, sisnet"):
        published.table("mdan", "table 4")
    with pytest.raises(UserError, match="madn has no 'table 9'; there is table 3, table 4"):
        published.table("madn", "table 9")


def scores(psnr: float) -> dict:
    return {"psnr": psnr, "ssim": psnr / 40, "ssim_matlab": psnr / 35}


def write(file, recipe: str | None = "madn", psnr: float = 25.0, **other) -> str:
    """An evaluation of two GoPro pairs, as madn.evaluate writes it."""
    images = [
        {"scene": name.split("/")[0], "name": name, "blurred": scores(20 + k), "restored": scores(psnr + k)}
        for k, name in enumerate(other.pop("names", ["GOPR0384_11_00/000001", "STORE/000461"]))
    ]
    mean = {side: scores(np.mean([image[side]["psnr"] for image in images])) for side in ("blurred", "restored")}
    result = {
        "model": f"runs/a (recipe {recipe}, step 7)",
        "recipe": recipe,
        "parameters": 1234567,
        "command": "evaluate it",
        "data": "GOPRO/test",
        "layout": "GoPro",
        "split": "test",
        "blur_kind": "blur",
        "protocol": "full",
        "crop": None,
        "seed": None,
        "images": images,
        "mean": mean,
        **other,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result))
    return str(file)


def measured(lines: list) -> list[tuple]:
    return [(line.method, line.published.get("psnr"), line.measured["psnr"], line.note) for line in lines if line.note]


def test_a_result_stands_beside_its_row_and_nowhere_else(tmp_path):
    for name, recipe, psnr in (("a", "madn", 25), ("b", "madn-budget", 26), ("c", "sisnet-nosis", 27)):
        write(tmp_path / name / "full.json", recipe, psnr)
    results = find_results([tmp_path])
    lines = published.beside("madn", "table 4", results)
    assert measured(lines) == [("MADN", 30.18, 25.5, 1), ("MADN", 30.18, 26.5, 2), ("blurred input", None, 20.5, 1)]
    assert lines[3].measured == scores(25.5) and lines[3].pairs == 2 and lines[-1].published == {}
    # what nobody measured stays empty, whatever the paper has
    assert [(line.method, line.measured, line.result) for line in lines if not line.note] == [
        (name, {}, None) for name in ("Whyte", "Sun", "Nah")
    ]
    assert measured(published.beside("sisnet", "table 2", results))[0] == ("Nosis", 28.44, 27.5, 1)
    # one image of each column of table 3; no average without all four
    lines = published.beside("madn", "table 3", results[:1])
    assert [(line.column, line.method, line.measured["psnr"]) for line in lines if line.measured] == [
        ("crowds", "MADN", 25),
        ("crowds", "blurred input", 20),
        ("store", "MADN", 26),
        ("store", "blurred input", 21),
    ]
    four = write(tmp_path / "d/full.json", psnr=30, names=FOUR)
    average = [line for line in published.beside("madn", "table 3", find_results([four])) if line.column == "average"]
    assert [(line.method, line.measured.get("psnr"), line.pairs) for line in average][-2:] == [
        ("MADN", 31.5, 4),
        ("blurred input", 21.5, 4),
    ]


def test_columns_have_their_own_recipes_and_data(tmp_path):
    def place(**facts) -> list[tuple]:
        lines = published.beside("egnet", facts.pop("table"), find_results([write(tmp_path / "full.json", **facts)]))
        return [(line.method, line.column) for line in lines if line.note and line.published]

    assert place(table="table 3", recipe="egnet-noattention") == [("EGNet", "without attention")]
    assert place(table="table 3", recipe="egnet-budget") == [("EGNet", "with attention")]
    assert place(table="table 3", recipe="egnet-random-mul-noattention") == [("mul (1, 0.02)", "without attention")]
    assert place(table="table 4", recipe="egnet-backbone") == [("without EGN", "")]
    assert place(table="table 1", recipe="egnet-backbone") == []  # MPRNet's row is its authors' weights'
    assert place(table="table 1", recipe="egnet-mprnet") == [("MPRNet", "GoPro")]
    assert place(table="table 1", recipe="egnet-budget") == []  # it has no self-ensemble
    assert place(table="table 4", recipe="egnet-backbone", changed={"n_feat": 8}) == [("without EGN", "")]
    assert place(table="table 4", recipe="egnet-backbone", changed={"n_feat": 8, "beta": 0.0}) == []
    for folder, column in (("RealBlur-J_ECC/test", "RealBlur-J"), ("x/RealBlur_R_test_list.txt", "RealBlur-R")):
        for table in ("table 1", "table 6"):
            found = place(table=table, recipe="egnet", layout="RealBlur", data=folder)
            assert [where for _, where in found] == [column]
    # not the test part, another set in GoPro's layout, another layout
    for facts in (
        {"split": "train"},
        {"split": None},
        {"names": ["chelsea/1"]},
        {"layout": "REDS"},
        {"layout": "RealBlur"},
    ):
        assert place(table="table 4", recipe="egnet-nosen", **facts) == []


def test_crops_and_what_has_no_recipe_are_marked(tmp_path):
    write(tmp_path / "crop.json", protocol="crop", crop=64, seed=5)
    write(tmp_path / "full.json")
    write(tmp_path / "blind/full.json", None, psnr=19, model="deconvolution-blind (scikit-image)", parameters=None)
    results = find_results([tmp_path])
    lines = published.beside("msr2b", "table 1", results)
    assert measured(lines) == [
        ("deconvolution-blind", None, 19.5, 1),
        ("blurred input", None, 20.5, 1),
        ("blurred input", None, 20.5, 2),
    ]
    said = published.text("madn", "table 4", results)
    rows = [row.split() for row in said.splitlines()]
    whole = [row for row in rows if row[:1] == ["MADN"] and row[-1:] == ["[1]"]]
    assert len(whole) == 1 and whole[0][1:6] == ["30.18", "0.9312", "25.50", "0.6375", "0.7286"]
    assert "1,234,567" in whole[0]
    assert [row[-5:] for row in rows if "crops," in row and "MADN" in row] == [["crops,", "2", "of", "1,111", "[2]"]]
    assert ["deconvolution-blind", "19.50", "0.4875", "0.5571", "whole", "images,", "2", "of", "1,111", "[3]"] in rows
    notes = [row for row in said.splitlines() if row.startswith("  [")]
    assert len(notes) == 3 and "64x64 crops, seed 5, 2 pairs of GOPRO/test; blur kind blur" in notes[1]
    for part in (
        "whole images, 2 pairs of GOPRO/test",
        "runs/a (recipe madn, step 7)",
        "1,234,567 parameters",
        f"{tmp_path / 'full.json'}, written by `evaluate it`",
    ):
        assert part in notes[0]


def test_a_result_in_its_run_folder_tells_the_training(tmp_path):
    write(tmp_path / "run/test/full.json", "madn-budget")
    (tmp_path / "run/log.csv").write_text("step,seconds,psnr\n600,60,20\n4975,1801.4,21\n")
    settings = {"recipe": "madn-budget", "fields": {}, "data": {}, "total_steps": 7200, "command": "train it"}
    (tmp_path / "run/settings.json").write_text(json.dumps(settings))
    said = published.markdown("madn", "table 4", find_results([tmp_path]))
    assert "trained 4,975 of 7,200 steps, 30 minutes, by `train it`" in said
    for other in (json.dumps({**settings, "recipe": "egnet"}), "{", "[]"):  # of another network, or damaged
        (tmp_path / "run/settings.json").write_text(other)
        said = published.markdown("madn", "table 4", find_results([tmp_path]))
        assert "trained" not in said and "25.50" in said


def squeezed(table: str) -> str:
    """A table without the spaces that align it."""
    return re.sub(" +", " ", table)


def test_text_and_markdown_of_a_whole_paper(tmp_path):
    write(tmp_path / "full.json", "sisnet-budget")
    results = find_results([tmp_path])
    for said in (published.text("sisnet", None, results), published.markdown("sisnet", None, results)):
        assert all(f"Table {k}" in said for k in (2, 3, 4)) and all(slip in said for slip in SISNET["slips"])
        assert said.count("evaluate it") == 1 and said.count("[1]") == 5  # a row and the input in 2 tables; one note
        assert "Nolatent: sisnet-nolatent" in said
    rows = [
        row for row in squeezed(published.markdown("sisnet", "table 2", results)).splitlines() if row.startswith("|")
    ]
    assert rows[0] == (
        "| method | published PSNR, dB | published SSIM (kind not stated) | measured PSNR, dB "
        "| measured ssim | measured ssim_matlab | network | measured on | note |"
    )
    assert rows[2] == "| Nolatent | 28.21 | 0.823 | | | | | | |"
    assert rows[5] == (
        "| SIS-Net | 30.28 | 0.912 | 25.50 | 0.6375 | 0.7286 | sisnet-budget, 1,234,567 parameters "
        "| whole images, 2 of 1,111 | [1] |"
    )
    # no scores of images: methods against columns, nothing to measure
    scored = squeezed(published.markdown("structure_guided", "table 2"))
    assert "| Structures Guided | 7.5 | 7.7 | 7.2 | 6.9 | 6.8 | 7.2 |" in scored
    assert "measured" not in published.text("egnet", "table 5")
    assert "| BANet | RealBlur-J | | | | | |" in squeezed(published.markdown("egnet", "table 1"))


def test_damaged_and_foreign_files(tmp_path):
    good = write(tmp_path / "good/full.json")
    text = (tmp_path / "good/full.json").read_text()
    bad = [
        text[:-40],
        "[]",
        "{}",
        "3",
        text.replace('"images": [{', '"images": [{"scene": 3}, {'),
        text.replace('"full"', '"half"'),
        text.replace('"recipe"', '"receipt"'),
        text.replace('"psnr": 20,', '"psnr": "dark",'),
        "\xff",
        "[" * 100_000,
        text.replace('"psnr": 20,', '"psnr": NaN,'),
        text.replace("{", '{"version": 2, ', 1),
        text[:-40],
    ]
    for k, content in enumerate(bad):
        (tmp_path / f"{k}").mkdir()
        (tmp_path / f"{k}/full.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(UserError, match="full.json: (not what python -m madn.evaluate|written by a newer)"):
            find_results([tmp_path / f"{k}/full.json"])
    write(tmp_path / "other.json")
    assert [result["file"] for result in find_results([tmp_path, good])] == [good]
    with pytest.raises(UserError, match="no such folder or file of results"):
        find_results([tmp_path / "gone"])
    write(tmp_path / "good/full.json", psnr=float("inf"))
    (tmp_path / "good/full.json").write_text((tmp_path / "good/full.json").read_text().replace("Infinity", '"inf"'))
    four = write(tmp_path / "four/full.json", names=FOUR)
    (tmp_path / "four/full.json").write_text((tmp_path / "four/full.json").read_text().replace("25.0", '"inf"'))
    assert "  inf " in published.text("madn", "table 3", find_results([four]))
    assert "  inf " in published.text("madn", "table 4", find_results([good]))


def cells(lines: list, *metrics: str) -> dict[tuple[str, str], tuple]:
    """(method, column) -> measured values, of the lines that have some."""
    return {
        (line.method, line.column): tuple(line.measured.get(metric) for metric in metrics)
        for line in lines
        if line.measured
    }


def test_images_are_known_by_gopros_own_names_or_named_by_the_user(tmp_path):
    columns = published.table("madn", "table 3")
    assert columns.unknown_images == ("store",)
    assert [bool(OFFICIAL.fullmatch(names[0])) for names in columns.images[:4]] == [True, True, True, False]
    official = [*FOUR[:3], "GOPR0385_11_01/003011"]
    whole = write(tmp_path / "full.json", names=official)
    results = find_results([whole])
    found = cells(published.beside("madn", "table 3", results), "psnr")
    assert found == {
        (method, column): (psnr + k,)
        for method, psnr in (("MADN", 25), ("blurred input", 20))
        for k, column in enumerate(("crowds", "road", "car"))
    }
    said = published.text("madn", "table 3", results)
    assert "store: its scene and frame in GoPro's test part are not known; --images store=SCENE/FRAME" in said
    named = published.beside("madn", "table 3", results, {"store": official[3]})
    assert cells(named, "psnr") == found | {
        ("MADN", "store"): (28,),
        ("blurred input", "store"): (23,),
        ("MADN", "average"): (26.5,),
        ("blurred input", "average"): (21.5,),
    }
    said = published.report(["madn"], [whole], {"store": official[3]})
    assert f"store: {official[3]}" in said and "not known" not in said
    # a local copy of the car and the car itself are one image
    copy = write(tmp_path / "copy/full.json", names=["GOPR0384_11_00/000001", "GOPR0854_CAR/000001"])
    assert ("MADN", "car") in cells(published.beside("madn", "table 3", find_results([copy])), "psnr")
    for images, message in (
        ({"shop": official[3]}, "no column 'shop' is about one image; there is crowds, road, car, store"),
        ({"average": official[3]}, "no column 'average' is about one image"),
        ({"store": "GOPR0385_11_01/3011"}, "--images store=GOPR0385_11_01/3011: no result on GoPro's test part has"),
    ):
        with pytest.raises(UserError, match=message):
            published.report(["madn"], [whole], images)
    with pytest.raises(UserError, match="there is none in these papers"):
        published.report(["egnet"], [whole], {"store": official[3]})


def test_what_was_restored_elsewhere_fills_the_rows_of_its_method(tmp_path):
    about = {"recipe": None, "parameters": None, "model": "images of out, restored elsewhere by Nah", "method": "Nah"}
    results = find_results([write(tmp_path / "full.json", psnr=29, median_seconds=None, **about)])
    for paper, table, row in (
        ("madn", "table 4", "Nah"),
        ("sisnet", "table 3", "DeepDeblur"),
        ("structure_guided", "table 1", "Nah"),
    ):
        lines = published.beside(paper, table, results)
        assert [(line.method, line.measured["psnr"]) for line in lines if line.note] == [
            (row, 29.5),
            ("blurred input", 20.5),
        ]
    # in a table without that method it stands below the rows, under its own name
    assert ("Nah", "GoPro") in cells(published.beside("egnet", "table 1", results), "psnr")
    assert cells(published.beside("structure_guided", "table 3", results), "seconds") == {}  # it was not timed
    assert [canonical_method(name) for name in ("deepdeblur", "Kupyn", "Xu 2013", "Restormer")] == [
        "Nah",
        "DeblurGAN",
        "Xu 2013",
        "Restormer",
    ]
    with pytest.raises(UserError, match="--name Xu: the papers call several methods so; say which: Xu 2013, Xu 2021"):
        canonical_method("Xu")


def test_seconds_stand_beside_the_papers(tmp_path):
    timed = {"median_seconds": 0.25, "device": "CPU x86_64"}
    write(tmp_path / "a/full.json", "sisnet", 25, **timed)
    write(tmp_path / "b/full.json", "structure_guided", 25, **timed)
    write(tmp_path / "c/full.json", "egnet-nosen", 25, **timed)
    write(tmp_path / "d/crop.json", "sisnet", 25, protocol="crop", crop=64, seed=0, **timed)
    write(tmp_path / "e/full.json", "msr2b", 25, **timed)
    for file in tmp_path.rglob("*.json"):
        read = json.loads(file.read_text())
        file.write_text(json.dumps({**read, "images": [{**each, "size": [720, 1280]} for each in read["images"]]}))
    results = find_results([tmp_path])
    sisnet = [line.measured.get("seconds") for line in published.beside("sisnet", "table 3", results) if line.note]
    assert sisnet == [0.25, None, None, None]  # whole images, crops, and the blurred input of both
    assert cells(published.beside("structure_guided", "table 3", results), "psnr", "seconds") == {
        ("Structures Guided", ""): (None, 0.25)
    }
    assert cells(published.beside("egnet", "table 2", results), "seconds") == {("EGNet", ""): (0.25,)}
    assert cells(published.beside("msr2b", "table 2", results), "seconds")["MSR2B", "GoPro"] == (0.25,)
    rows = squeezed(published.markdown("structure_guided", "table 3", results)).splitlines()
    assert "| Structures Guided | 446.98 | 0.7 | 0.250 | structure_guided, 1,234,567 parameters " in "\n".join(rows)
    assert "whole images, 2 of 1,111, 1280x720" in "\n".join(rows) and "timed on CPU x86_64" in "\n".join(rows)
    assert any(row.startswith("Seconds: measured are the median") for row in rows)
    assert "measured seconds" not in published.text("sisnet", "table 2", results)
