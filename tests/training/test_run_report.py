"""The page of a run: a curve for each column, text that is escaped, gaps where a number is missing."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from madn.errors import UserError
from madn.report import main
from madn.training.log_groups import GROUPS, group_of
from madn.training.run_report import write_run_report
from madn.training.runfolder import RunFolder

LOG = """step,seconds,input_wait,lr_g,critic_image_real,loss,content,psnr,blurred_psnr,val_psnr,val_blurred_psnr,critics
100,3600,0.25,0.001,0.7,0.5,0.4,24.5,24,25.5,25,
200,7200,0.125,0.0005,0.75,nan,0.3,25,24.25,26.25,25,image has <won>
300,9000,0,0,,0.25,0.2,25.5,24,26,25,
"""


@pytest.fixture
def run(tmp_path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.samples.mkdir(parents=True)
    run.write_settings(
        {"recipe": "madn", "fields": {}, "data": {}, "total_steps": 400, "command": "train --run '<b>&'", "pairs": {}}
    )
    run.log.write_text(LOG, encoding="utf-8")
    Image.fromarray(np.full((8, 24, 3), 200, np.uint8)).save(run.samples / "latest.png")
    return run


def svgs(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.S)]


def test_the_page_has_the_curves_the_settings_and_the_picture(run, capsys):
    main([str(run.path)])
    file = run.path / "report.html"
    assert capsys.readouterr().out == f"wrote {file}\n"
    page = file.read_text(encoding="utf-8")
    charts = svgs(page)
    shown = {text.text for chart in charts for text in chart.iter("{http://www.w3.org/2000/svg}text")}
    columns = set(LOG.split("\n")[0].split(",")) - {"seconds", "critics"}  # "step" is the axis
    assert columns <= shown and len(charts) == 6
    assert "300 of 400" in page and "26.25 dB at step 200" in page and "<dd>2.50</dd>" in page
    assert "train --run &#39;&lt;b&gt;&amp;&#39;" in page and "image has &lt;won&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page) and "<script" not in page


def test_the_same_log_gives_the_same_curves(run, tmp_path):
    first, second = (write_run_report(run, tmp_path / name).read_text("utf-8") for name in ("a.html", "b.html"))
    assert re.findall(r"<svg.*?</svg>", first, re.S) == re.findall(r"<svg.*?</svg>", second, re.S)


def test_a_run_of_one_round_and_nothing_but_its_log_has_a_page(tmp_path):
    run = RunFolder(tmp_path)
    run.log.write_text("step,psnr,blurred_psnr\n7,25,24\n", encoding="utf-8")
    page = write_run_report(run).read_text(encoding="utf-8")
    assert len(svgs(page)) == 1 and "<img" not in page


@pytest.mark.parametrize("what, line", [("absent", "no such run folder"), ("empty", "no round has been logged yet")])
def test_what_is_no_run_is_one_line(what, line, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=line):
        write_run_report(RunFolder(tmp_path / what))
    assert not list(tmp_path.rglob("*.html"))


def test_a_page_that_cannot_be_written_is_one_line(run, tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        write_run_report(run, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_run_report(run, tmp_path / "file" / "report.html")


def test_every_column_of_every_kept_log_has_a_group(pytestconfig):
    kept = list((pytestconfig.rootpath / "notebooks" / "records").rglob("log.csv"))
    columns = {name for file in kept for name in file.read_text("utf-8").split("\n")[0].strip().split(",")}
    groups = {name: group_of(name) for name in columns - {"step", "critics"}}
    assert set(groups.values()) == set(GROUPS)
    assert groups["scale_1_psnr"] == groups["psnr"] == groups["blurred_psnr"] == "psnr"
    assert groups["critic_loss"] == groups["adversarial_image"] == "discriminator"
    assert (
        groups["val_blurred_psnr"] == groups["val_psnr"] == "held_out" and groups["gradient"] == groups["mse"] == "loss"
    )
