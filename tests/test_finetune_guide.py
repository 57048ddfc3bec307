"""The guide's script does what its page says, in a short form."""

import re
import runpy
import sys
from pathlib import Path

import torch

from golden.config import MacConfig

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "guide.md"


def test_the_script_of_the_guide(tmp_path, monkeypatch, capsys):
    text = GUIDE.read_text()
    script = re.search(r"```python\n(# narrow\.py\n.*?)```", text, re.DOTALL)[1]
    short = script.replace("EPOCHS, TUNING_EPOCHS = 15, (4, 1)", "EPOCHS, TUNING_EPOCHS = 1, (1, 1)")
    assert short != script
    (tmp_path / "narrow.py").write_text(short)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["narrow.py", "float6"])
    runpy.run_path("narrow.py")
    printed = capsys.readouterr().out.splitlines()
    shown = text.partition("$ python narrow.py float6\n")[2].partition("```")[0].splitlines()
    labels = [line.partition(":")[0] for line in shown]
    assert len(labels) == 5 and [line.partition(":")[0] for line in printed] == labels
    right = {
        line.partition(":")[0]: float(re.search(r"([\d.]+) %", line)[1]) for line in printed if "%" in line
    }
    assert right["narrow, fine-tuned"] > right["not fine-tuned"] and right["float32"] > 50
    saved = torch.load("narrow.pt", weights_only=True)
    assert len([MacConfig.parse(name) for name in saved["layers"]]) == 4
    assert "0.weight" in saved["weights"]
