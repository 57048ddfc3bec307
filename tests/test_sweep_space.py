"""Spaces: what a file expands to, what it may not say, and what the command prints of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from golden.catalog import CATALOG, find
from golden.config import ConfigError, MacConfig, Rounding
from sim.sweep.__main__ import main
from sim.sweep.formats import kind_of, label_of, operands_of, reference_of
from sim.sweep.space import read_space

ROOT = Path(__file__).parent.parent

NETWORKS = """
[[network]]
name = "digits"
[[network]]
name = "resnet20"
images = 250
"""


@pytest.fixture
def space(tmp_path):
    def read(text: str):
        path = tmp_path / "some.toml"
        path.write_text(text)
        return read_space(path)

    return read


def labels(space) -> list[str]:
    return [label_of(config) for config in space.configs]


def test_a_block_is_a_cross_product_in_the_order_of_its_keys(space):
    made = space(
        '[[space]]\naccumulator = "float"\nbits = [12, 8]\nrounding = ["rz", "rne", "sr4"]\n'
        'alignment = ["exact", 0]\nproduct = ["like", "exact"]\n'
        'clock_ns = ["relaxed", 2.5]\nstages = [0, "search"]\n'
    )
    assert len(made.configs) == 2 * 3 * 2 * 2
    assert len(made.points) == len(made.configs) * 2 * 2
    assert labels(made)[:5] == ["float12", "float12-px", "float12-g0", "float12-g0-px", "float12-rne"]
    assert made.configs[0] == find("float12")
    sr = made.configs[labels(made).index("float12-sr4")]
    assert sr.product.rounding is sr.accumulator.rounding is Rounding.STOCHASTIC
    assert sr.product.random_bits == sr.accumulator.random_bits == 4
    assert {point.clock_ps for point in made.points} == {None, 2500}
    assert {point.stages for point in made.points} == {0, None}


def test_every_kind_has_the_configurations_of_the_catalogue(space):
    made = space(
        '[[space]]\naccumulator = "fixed"\nbits = "6-8"\nrounding = ["rz", "rne"]\n'
        'overflow = ["sat", "wrap"]\n'
        '[[space]]\naccumulator = "int"\nbits = ["6-10/2", 32]\noverflow = "wrap"\n'
        '[[space]]\naccumulator = "exact"\n'
        '[[space]]\nconfigs = ["float16", "e3m4_e3m4_p_exact_a_e5m10_rz_c64"]\n'
    )
    names = [
        f"fixed{bits}{policy}{wrap}"
        for bits in (6, 7, 8)
        for policy in ("", "-rne")
        for wrap in ("", "-wrap")
    ]
    names += [f"int{bits}-wrap" for bits in (6, 8, 10, 32)] + ["exact", "float16"]
    assert list(made.configs[:-1]) == [CATALOG[name] for name in names]
    assert labels(made)[-1] == "float16-px-c64"
    assert [kind_of(config) for config in made.configs] == ["fixed"] * 12 + ["int"] * 4 + ["exact"] + [
        "float"
    ] * 2


def test_exponents_and_mantissas_are_crossed_and_bits_pick_widths(space):
    made = space('[[space]]\naccumulator = "float"\nexp_bits = "3-5"\nman_bits = "4-8"\nbits = [10, 12]\n')
    splits = [(c.accumulator.format.exp_bits, c.accumulator.format.man_bits) for c in made.configs]
    assert splits == [(3, 6), (3, 8), (4, 5), (4, 7), (5, 4), (5, 6)]


def test_points_of_several_blocks_are_united(space):
    made = space(
        NETWORKS + '[[space]]\nconfigs = "float12"\nnetworks = "digits"\n'
        '[[space]]\nconfigs = ["float12", "int12", "exact"]\noffsets = ["registers", "wired"]\n'
    )
    rows = [(label_of(p.config), p.offsets, [n.name for n in p.networks]) for p in made.points]
    both = ["digits", "resnet20"]
    assert rows == [
        ("float12", "registers", both),
        ("float12", "wired", both),
        ("int12", "none", both),  # integers and exact sums have no offsets to set
        ("exact", "none", both),
    ]


def test_operands_may_differ(space):
    made = space('[[space]]\naccumulator = "int"\noperands = ["int8 x int4", "int8"]\nbits = 12\n')
    assert labels(made) == ["int8 x int4: int12", "int12"]
    assert [operands_of(config) for config in made.configs] == ["int8 x int4", "int8"]
    reference = reference_of(made.configs[0])
    assert reference == MacConfig.parse("int8_int4_p_exact_a_e8m23_rne_c16")


def test_labels_of_the_catalogue_are_its_names():
    for name, config in CATALOG.items():
        assert CATALOG[label_of(config)] == config, name


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "no \\[\\[space\\]\\]"),
        ("[[space]\n", "not TOML"),
        ("colour = 1\n[[space]]\nconfigs='float12'\n", "the file has no use for 'colour'"),
        (
            "[[space]]\nconfigs='float12'\nclok_ns=1\n",
            "space 1 has no use for 'clok_ns'; did you mean clock_ns",
        ),
        ("[[space]]\nconfigs='float12'\nbits=3\n", "no use for 'bits'"),
        ("[[space]]\nconfigs='float13x'\n", "no configuration called 'float13x'"),
        ("[[space]]\nbits=12\n", "either accumulator"),
        ("[[space]]\naccumulator='float'\n", "space 1 has no bits"),
        ("[[space]]\naccumulator='flaot'\n", "accumulator is 'flaot'; use one of float"),
        ("[[space]]\naccumulator='float'\nbits=40\n", "bits is 40; use an integer from 5 to 32"),
        ("[[space]]\naccumulator='float'\nbits='12-6'\n", 'the smaller first, "6-12"'),
        ("[[space]]\naccumulator='float'\nexp_bits=9\nman_bits=3\n", "exp_bits is 9"),
        ("[[space]]\naccumulator='float'\nexp_bits=3\nman_bits=3\nbits=20\n", "no format has these bits"),
        ("[[space]]\naccumulator='float'\nbits=12\nrounding='sr99'\n", "rounding is 'sr99'"),
        ("[[space]]\naccumulator='float'\nbits=12\noverflow='wrap'\n", "no use for 'overflow'"),
        ("[[space]]\naccumulator='float'\nbits=12\nalignment=true\n", "alignment is True"),
        ("[[space]]\naccumulator='fixed'\nbits=12\noperands='int8'\n", "operands is 'int8'"),
        ("[[space]]\naccumulator='int'\nbits=12\noperands='e3m4'\n", "operands is 'e3m4'; use integers"),
        ("[[space]]\naccumulator='int'\nbits=12\noperands='x x y x z'\n", "a format for both"),
        ("[[space]]\nconfigs='float12'\nstages=9\n", "stages is 9"),
        ("[[space]]\nconfigs='float12'\nclock_ns=-1\n", "clock_ns is -1"),
        ("[[space]]\nconfigs='float12'\nclock_ns=nan\n", "clock_ns is nan"),
        ("[[space]]\nconfigs=[]\n", "configs is \\[\\]; use one value at least"),
        ("[[space]]\nconfigs='float12'\nnetworks='digits'\n", "networks is 'digits'"),
        ("[[network]]\nname='mnist'\n[[space]]\nconfigs='float12'\n", "name is 'mnist'; use one of digits"),
        ("[[network]]\nname='digits'\nimages=0\n[[space]]\nconfigs='float12'\n", "images is 0"),
        ("[[network]]\nname='digits'\n" * 2 + "[[space]]\nconfigs='float12'\n", "named twice"),
        ("network=1\n[[space]]\nconfigs='float12'\n", "network is 1; use tables"),
    ],
)
def test_what_cannot_be_is_one_sentence(space, text, sentence):
    with pytest.raises(ConfigError, match=sentence) as error:
        space(text)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(("some.toml", "/"))


def test_the_command_lists_points_without_loading_torch(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text(
        NETWORKS + '[[space]]\naccumulator = "float"\nbits = [8, 12]\nclock_ns = ["relaxed", 5]\n'
    )
    code = (
        "import sys; from sim.sweep.__main__ import main\n"
        f"status = main([{str(path)!r}, '--list']); assert 'torch' not in sys.modules; sys.exit(status)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    *lines, last = run.stdout.splitlines()
    assert len(lines) == 4
    assert last.startswith("4 points, 2 configurations; digits (all test images")
    assert "the first 250 test images" in last


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["nowhere.toml"], "there is no nowhere.toml"),
        (["spaces/main.toml", "-j", "0"], "-j must be from 1"),
        (["spaces/main.toml", "--only", "flaot12", "--list"], "no point of 'flaot12'; it has float12"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments, sentence, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_the_main_space_is_as_large_as_promised():
    main_space = read_space(ROOT / "spaces" / "main.toml")
    assert len(main_space.points) >= 300
    assert len(main_space.configs) >= 120
    assert {network.name for network in main_space.networks} == {"digits", "fashion-mnist", "resnet20"}


def test_the_space_of_cost_alone_has_500_points():
    assert len(read_space(ROOT / "spaces" / "cost-500.toml").points) == 500
