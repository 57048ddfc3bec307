"""Backend ``rtl``: torch products and networks on a Verilated tile, word by word as the other backends."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from golden.codes import decode
from golden.config import ConfigError, MacConfig
from golden.random_words import RandomWords
from hw.cost.cycles import cycles
from hw.verilated_tile import VerilatedTile
from sim import hardware_runs, rtl
from sim.backends import Conv2dGeometry, CpuBackend, GoldenBackend, find_backend
from sim.hardware_page import page, paragraph
from sim.hardware_runs import Part, Subject, run_network
from sim.inject import accumulate
from sim.operands import LayerConfig
from sim.rtl import RtlBackend, TileSize, explain, tile_config

#: One build for all tests: random words and registers for offsets, in chunks of two passes.
CONFIG = MacConfig.parse("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_sr3_c4")
SIZE = TileSize(rows=2, cols=2, stages=0, depth=4)
WORDS = RandomWords(seed=11, call=5)


@pytest.fixture
def backend():
    return RtlBackend(size=SIZE, compare=True)


def draw(number, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return decode(torch.randint(0, 2**number.code_bits, shape, generator=generator), number)


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((3, 7), (7, 3)),
        ((2, 3, 5), (5, 3)),
        ((3, 5), (2, 5, 3)),
        ((2, 1, 3, 5), (2, 5, 2)),
        ((0, 4), (4, 2)),
        ((2, 3, 0), (0, 2)),
    ],
)
def test_products_are_goldens(backend, a_shape, b_shape):
    a, b = draw(CONFIG.x, *a_shape), draw(CONFIG.w, *b_shape, seed=1)
    expected = GoldenBackend().matmul(a, b, CONFIG, None, WORDS)
    got = backend.matmul(a, b, CONFIG, None, WORDS)
    assert got.dtype == torch.float64
    assert torch.equal(got, expected)
    (record,) = backend.record
    assert (record.compared, record.mismatches) == (expected.numel(), 0)
    assert record.m * record.n == expected.numel()
    assert 0 <= record.utilisation <= 1


def test_orders_are_gathers(backend):
    a, b = draw(CONFIG.x, 5, 6), draw(CONFIG.w, 6, 4, seed=1)
    one = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    each = torch.stack([one, one.flip(0), one, torch.arange(6)], dim=1)
    for order in (one, each):
        expected = GoldenBackend().matmul(a, b, CONFIG, order, WORDS)
        assert torch.equal(backend.matmul(a, b, CONFIG, order, WORDS), expected)
        assert not torch.equal(backend.matmul(a, b, CONFIG, None, WORDS), expected)


def test_convolutions(backend):
    images, weight = draw(CONFIG.x, 2, 3, 5, 4), draw(CONFIG.w, 4, 3, 3, 3, seed=1)
    geometry = Conv2dGeometry(stride=(2, 1), padding=(1, 0), dilation=(1, 1), groups=1)
    expected = CpuBackend().conv2d(images, weight, CONFIG, geometry, None, WORDS)
    assert torch.equal(backend.conv2d(images, weight, CONFIG, geometry, None, WORDS), expected)


def test_a_product_that_is_too_long_is_started_again(backend, monkeypatch):
    monkeypatch.setattr(rtl, "_MAX_STREAM_BYTES", 1)
    a, b = draw(CONFIG.x, 10, 6), draw(CONFIG.w, 6, 3, seed=1)
    expected = GoldenBackend().matmul(a, b, CONFIG, None, WORDS)
    assert torch.equal(backend.matmul(a, b, CONFIG, None, WORDS), expected)
    assert backend.record[0].starts == 3


def test_a_wrong_word_is_counted_and_shown(backend, monkeypatch, tmp_path):
    """A bit of row 2, column 1 turns around from the fourth product on."""
    matmul_codes = VerilatedTile.matmul_codes

    def wrong(tile, x, w, *arguments, m_base=0, waves=None, **options):
        product = matmul_codes(tile, x, w, *arguments, m_base=m_base, **options)
        if x.shape[1] > 3 and m_base <= 2 < m_base + len(x):
            product.codes[2 - m_base, 1] ^= 1
        return product

    monkeypatch.setattr(VerilatedTile, "matmul_codes", wrong)
    monkeypatch.setattr(rtl._tile(tile_config(CONFIG, SIZE)).bench, "trace", "vcd")  # spares a build
    a, b = draw(CONFIG.x, 3, 4), draw(CONFIG.w, 4, 2, seed=1)
    backend.matmul(a, b, CONFIG, torch.tensor([2, 0, 1, 3]), WORDS)
    assert backend.record[0].mismatches == 1
    text = explain(backend.wrong, SIZE, trace="vcd")
    assert "1 results differ" in text
    assert "m = 2, n = 1 (wrong from k = 3 on)" in text


def test_the_rows_of_an_array_divide_the_chunk():
    assert tile_config(MacConfig.parse("int8_int8_p_exact_a_int20_floor_sat_c12"), SIZE).array.rows == 2
    size = TileSize(rows=16, cols=16, stages=0, depth=64)
    assert tile_config(MacConfig.parse("int8_int8_p_exact_a_int20_floor_sat_c12"), size).array.rows == 12
    with pytest.raises(ConfigError, match="cols"):
        tile_config(CONFIG, TileSize(rows=2, cols=0, stages=0, depth=4))


def test_it_is_found_by_name():
    assert isinstance(find_backend("rtl"), RtlBackend)
    backend = RtlBackend(size=SIZE)
    assert find_backend(backend) is backend


class Small(nn.Module):
    """A convolution and a linear layer."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.kernel = torch.randn(2, 1, 3, 3, generator=generator)
        self.matrix = torch.randn(3, 8, generator=generator)

    def forward(self, images):
        hidden = functional.conv2d(images, self.kernel).relu()
        return functional.linear(hidden.flatten(1), self.matrix)


@pytest.fixture
def subject():
    layer = LayerConfig(config=CONFIG, x_scale=1.0, w_scale=1.0, length=None)
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    part = Part(model=Small(), plan=[layer] * 2, images=images, labels=torch.tensor([0, 1, 2, 0, 1]))
    return Subject(description="five images", parts=[part, part], layers=["convolution", "linear"])


def test_a_network_runs_with_every_product_on_the_tile(backend, subject):
    part = subject.parts[0]
    with torch.no_grad(), accumulate(part.plan, backend=backend):
        got = part.model(part.images)
    with torch.no_grad(), accumulate(part.plan, backend="cpu"):
        expected = part.model(part.images)
    assert torch.equal(got, expected)
    assert [(each.m, each.k, each.n) for each in backend.record] == [(20, 9, 2), (5, 8, 3)]


def test_a_run_adds_up(backend, subject):
    done = []
    run = run_network(subject, backend, batch=2, report=done.append)
    assert done == [2, 2, 1] * 2
    assert (run["n"], run["networks"], run["products"]) == (10, 2, 12)
    assert run["right"] == run["right_on_cpu"]
    assert run["words_compared"] == 2 * (20 * 2 + 5 * 3)
    assert run["mismatches"] == 0
    assert [(layer["m"], layer["k"], layer["n"]) for layer in run["layers"]] == [(40, 9, 2), (10, 8, 3)]
    assert run["cycles"] == sum(each.cycles for each in backend.record)
    assert run["macs"] == 40 * 9 * 2 + 10 * 8 * 3


@pytest.fixture
def small_runs(monkeypatch, subject):
    def make(config, options):
        assert config == CONFIG
        return subject

    monkeypatch.setattr(hardware_runs, "NETWORKS", {"small": ("small", lambda options: 5, make)})


def run_command(tmp_path, *more):
    files = ["-o", str(tmp_path / "runs.json"), "--page", str(tmp_path / "runs.md")]
    size = ["--rows", "2", "--cols", "2", "--depth", "4"]
    return hardware_runs.main(["--networks", "small", "--config", CONFIG.name, *size, *files, *more])


def test_the_command_writes_results_and_goes_on_where_it_was(small_runs, tmp_path, capsys, monkeypatch):
    assert run_command(tmp_path) == 0
    results = json.loads((tmp_path / "runs.json").read_text())
    (run,) = results["runs"]
    assert run["mismatches"] == 0
    assert run["n"] == 10
    assert (tmp_path / "runs.md").read_text() == page(results)
    assert "none differs" in paragraph(results)
    run["mismatches"] = 3
    assert "**3 differ**" in paragraph(results)
    capsys.readouterr()
    monkeypatch.setattr(hardware_runs, "run_network", None)  # which is not called again
    assert run_command(tmp_path) == 0
    assert "small: done before" in capsys.readouterr().err


def test_the_command_refuses_what_cannot_be(small_runs, tmp_path, capsys):
    for more, message in (
        (["--batch", "0"], "--batch must be from 1"),
        (["--config", "float1"], "no configuration"),
    ):
        with pytest.raises(SystemExit) as ended:
            run_command(tmp_path, *more)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


KEPT = Path(__file__).parent.parent / "docs"


def test_the_kept_runs_are_those_of_the_page():
    results = json.loads((KEPT / "results" / "hardware-runs.json").read_text())
    assert (KEPT / "hardware-runs.md").read_text() == page(results)
    images = {run["network"]: run["n"] for run in results["runs"]}
    assert images["digits"] == 1797
    assert images["fashion"] >= 1000
    assert images["resnet20"] >= 1
    for run in results["runs"]:
        assert run["mismatches"] == 0
        assert run["words_compared"] == sum(layer["m"] * layer["n"] for layer in run["layers"])
        assert run["right"] == run["right_on_cpu"]


def test_the_kept_cycles_are_those_of_the_model():
    """Of ResNet-20, whose every layer was one product."""
    results = json.loads((KEPT / "results" / "hardware-runs.json").read_text())
    (run,) = (run for run in results["runs"] if run["network"] == "resnet20")
    size = TileSize(rows=run["rows"], cols=run["cols"], stages=run["stages"], depth=run["depth"])
    tile = tile_config(MacConfig.parse(run["config"]), size)
    assert tile.name == run["tile"]
    for layer in run["layers"]:
        assert layer["starts"] == 1
        assert layer["cycles"] == cycles(tile, layer["m"], layer["k"], layer["n"])
