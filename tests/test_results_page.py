"""docs/results.md is what its command writes from the results files, and what it shows is there."""

import json
import re

import pytest

from sim import results
from sim.explorer.export import tidy
from sim.explorer.page import explorer_page
from sim.results import KEPT, PAGE, TOPICS, page


def test_the_page_is_written_from_the_files_that_are_kept():
    kept = {topic.file: json.loads((KEPT / topic.file).read_text()) for topic in TOPICS}
    assert PAGE.read_text() == page(kept)


def test_the_explorer_is_of_the_sweep_that_is_kept():
    export = json.loads((KEPT / "sweep.json").read_text())
    assert (KEPT / "explorer.html").read_text() == explorer_page(tidy(export)), "run python -m sim.results"


def test_what_the_page_links_to_is_there():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE.read_text())
    local = [link for link in links if "://" not in link]
    assert len(local) > len(TOPICS)
    for link in local:
        assert (PAGE.parent / link).exists(), link


def test_tables_have_as_many_cells_as_their_heads():
    width = 0
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not width or cells in (0, width), f"line {number}"
        width = cells


def test_every_row_of_fine_tuning_names_its_command():
    kept = json.loads((KEPT / "finetune.json").read_text())
    assert all(row["command"].startswith("python -m sim.finetune") for row in kept["rows"])


def test_a_missing_file_is_named_with_the_command_that_writes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "KEPT", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        results.main([])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert TOPICS[0].file in message
    assert f"python -m {TOPICS[0].made_by}" in message
