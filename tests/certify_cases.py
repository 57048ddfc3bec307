"""What tests of certificates share: small layers, small networks, and the checkers as users run them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from golden.config import MacConfig
from sim.certify import fixed
from sim.certify.certificate import certify, write
from sim.certify.layers import Layer, integer_range
from sim.operands import LayerConfig
from sim.workloads import example_workload

CHECKERS = sorted(Path(fixed.__file__).parent.glob("check_*.py"))


def layer_of(name, weights, x_range=None):
    config = MacConfig.parse(name)
    return Layer(
        name="layer",
        plan=LayerConfig(config=config, x_scale=1.0, w_scale=1.0, length=None),
        length=len(weights[0]),
        weights=np.array(weights, dtype=np.int64),
        x_range=x_range or integer_range(config.x),
        is_conv=False,
    )


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 4)).eval()


def certified(tmp_path, config, **options):
    inputs = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    workload = example_workload(network(), inputs, name="small")
    config = MacConfig.parse(config)
    options = {"calibrated": False, "observed": True, "seed": 0, "command": "none"} | options
    certificate, tensors = certify(workload, config, report=lambda what, done, of: None, **options)
    path = tmp_path / "certificate.json"
    write(certificate, tensors, path)
    return path


def check(path):
    kind = json.loads(path.read_text())["certificate"]
    script = next(each for each in CHECKERS if each.stem.endswith(kind))
    return subprocess.run([sys.executable, "-I", script, path], capture_output=True, text=True, check=False)


CONFIGS = {
    "integers": "int8_int8_p_exact_a_int16_floor_sat_c16",
    "unsigned": "uint8_int8_p_exact_a_int20_floor_wrap_c8_o_int24_floor_sat",
    "fp8": "e3m4_e3m4_p_exact_a_int16ln9_rz_sat_c16",
    "float": "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16",
    "guarded": "e3m4_e3m4_p_exact_a_e5m6_rne_g1_c8_o_e8m15_rne",
}
