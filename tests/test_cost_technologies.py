"""Technologies by name: where their texts are found, what is downloaded, and what is refused."""

import gzip
import hashlib

import pytest

from golden.config import ConfigError
from hw.cost import technologies
from hw.cost.cells import builtin_library, liberty_library
from hw.cost.synth import main as synth
from hw.cost.technologies import LibertyFile, Technology, fetch, find_technology, locate, main

TEXT = """library (tiny) {
  time_unit : "1ns";
  cell (NAND) { area : 2; pin (A) { direction : input; } pin (B) { direction : input; }
                pin (Y) { direction : output; function : "!(A & B)"; } }
  cell (INV) { area : 1; pin (A) { direction : input; } pin (Y) { direction : output; function : "!A"; } }
  cell (ISOLATION) { area : 0.5; is_isolation_cell : "true"; pin (A) { direction : input; }
                     pin (Y) { direction : output; function : "!A"; } }
  cell (KEPT) { area : 0.5; always_on : true; pin (A) { direction : input; }
                pin (Y) { direction : output; function : "!A"; } }
  cell (tiny__probe_p_8) { area : 0.5; pin (A) { direction : input; }
                           pin (Y) { direction : output; function : "!A"; } }
  cell (DFF) { area : 5; ff (IQ, IQN) { clocked_on : "CLK"; next_state : "!D"; }
               pin (CLK) { direction : input; } pin (D) { direction : input; }
               pin (QN) { direction : output; function : "IQ"; } }
  cell (DFFN) { area : 4; ff (IQ, IQN) { clocked_on : "!CLK"; next_state : "D"; }
                pin (CLK) { direction : input; } pin (D) { direction : input; }
                pin (Q) { direction : output; function : "IQ"; } }
}
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A technology whose only file is published in a folder; no place on this machine has it."""
    published = tmp_path / "published"
    published.mkdir()
    (published / "tiny.lib.gz").write_bytes(gzip.compress(TEXT.encode()))
    (published / "other.lib").write_text(TEXT + "\n")
    file = LibertyFile(
        names=("tiny.lib", "tiny_tt.lib"),
        addresses=tuple((published / name).as_uri() for name in ("absent.lib", "other.lib", "tiny.lib.gz")),
        sha256=hashlib.sha256(TEXT.encode()).hexdigest(),
    )
    monkeypatch.setattr(
        technologies,
        "TECHNOLOGIES",
        {"tiny": Technology(name="tiny", what="a few cells", licence="none", files=(file,))},
    )
    monkeypatch.setattr(technologies, "_BESIDE", tmp_path / "beside")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(technologies.FOLDER_VARIABLE, raising=False)
    return file


def test_a_download_is_checked_kept_and_found_again(tiny, tmp_path, monkeypatch):
    assert locate(tiny) is None
    library = find_technology("tiny")  # the first address fails, the second has another text
    assert sorted(library.cells) == ["DFF", "DFFN", "INV", "NAND"]
    kept = tmp_path / "cache" / "fmaq" / "liberty" / "tiny.lib.gz"
    assert gzip.decompress(kept.read_bytes()).decode() == TEXT
    assert locate(tiny) == kept
    monkeypatch.setattr(technologies, "fetch", None)  # nothing is downloaded twice
    assert find_technology("tiny").fingerprint == library.fingerprint


def test_a_folder_of_the_users_comes_first_plain_or_gzipped(tiny, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    (own / "tiny.lib").write_text("another text of that name")
    (own / "tiny_tt.lib").write_text(TEXT)
    monkeypatch.setenv(technologies.FOLDER_VARIABLE, str(own))
    fetch(tiny)
    assert locate(tiny) == own / "tiny_tt.lib"


def test_what_cannot_be_had_is_said_in_a_sentence(tiny, tmp_path, capsys):
    (tmp_path / "published" / "tiny.lib.gz").write_bytes(b"\x1f\x8b not gzip")
    with pytest.raises(ConfigError, match=r"tiny\.lib is not on this machine.*another text, by its SHA-256"):
        find_technology("tiny")
    with pytest.raises(ConfigError, match="no technology called 'tyni'; use tiny, builtin"):
        find_technology("tyni")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_technology("./absent.lib")
    with pytest.raises(SystemExit) as exit_:
        main(["--fetch", "tiny"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_listing_says_what_is_where(tiny, capsys):
    assert main([]) == 0
    before = capsys.readouterr().out
    assert "tiny.lib: not on this machine; public at file://" in before and "builtin" in before
    assert main(["--fetch", "tiny"]) == 0
    assert str(locate(tiny)) in capsys.readouterr().out


def test_paths_are_a_technology_too(tmp_path):
    gates, registers = tmp_path / "gates.lib", tmp_path / "registers.lib"
    cells = TEXT.splitlines(keepends=True)
    start = next(index for index, line in enumerate(cells) if "cell (DFF)" in line)
    gates.write_text("".join(cells[:start]) + "}\n")
    registers.write_text("library (registers) {\n" + "".join(cells[start:]))
    both = find_technology(f"{gates}:{registers}")
    assert both.fingerprint == liberty_library([registers, gates]).fingerprint
    assert find_technology("builtin") == builtin_library()
    gates.write_text(gates.read_text().replace("area : 2;", "area : 3;"))
    assert find_technology(f"{gates}:{registers}").nand2_um2 == 3  # a file that changed is read again


def test_cells_of_power_domains_and_probes_are_left_alone(tiny):
    library = find_technology("tiny")
    assert library.unused == ("ISOLATION", "KEPT", "tiny__probe_p_8")
    assert library.inverter.name == "INV"
    assert library.register == ("DFF", "CLK", "D", "QN")  # of the rising edge, though larger
    assert library.time_unit_ps == 1000


def test_options_name_one_library_and_leave_configurations_alone(capsys, monkeypatch):
    with pytest.raises(SystemExit):
        synth(["int8", "--tech", "sky130hd", "--liberty", "a.lib"])
    assert "two libraries; give one of them" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        synth(["--liberty", "absent.lib", "int8"])  # int8 is a configuration here, not a file
    assert "absent.lib cannot be read" in capsys.readouterr().err


def test_published_checksums_are_those_of_the_files_here():
    known = [file for each in technologies.TECHNOLOGIES.values() for file in each.files]
    here = [file for file in known if any(technologies._candidates(file))]
    if not here:
        pytest.skip("no data set: no Liberty file of a named technology is on this machine")
    assert all(locate(file) is not None for file in here)
