"""Speed of training's products on a graphics card: ``python -m benchmarks.bench_cuda_gradients``.

Writes cuda-gradients.json: for each convolution of a ResNet-20 on CIFAR-10, times of the forward product
through the accumulator, of its gradients by rule, of quantizing the images, and of torch's float32 product;
each once by the card's clock (runs back to back), once by the caller's (until the call returns).
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch

from golden.catalog import find
from golden.config import ConfigError
from golden.gradients import GradientRule
from hw.command_line import Parser
from hw.files import write_files
from sim.kernels.cuda import CudaBackend
from sim.kernels.cuda_numbers import quantize
from sim.kernels.cuda_results import section
from sim.kernels.geometry import Conv2dGeometry

#: Channels in and out, side of the image, stride, and how many such layers there are.
LAYERS = (
    (3, 16, 32, 1, 1),
    (16, 16, 32, 1, 6),
    (16, 32, 32, 2, 1),
    (32, 32, 16, 1, 5),
    (32, 64, 16, 2, 1),
    (64, 64, 8, 1, 5),
)
COMMAND = "python -m benchmarks.bench_cuda_gradients"
RULES = ("identity", "immediate/of", "recursive/of", "immediate/diff", "recursive/diff")


def timed(run: Callable[[], object], rounds: int) -> dict[str, float]:
    """Milliseconds of one run."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    host = []
    events[0].record()
    for event in events[1:]:
        start = time.perf_counter()
        run()
        host.append(1e3 * (time.perf_counter() - start))
        event.record()
    torch.cuda.synchronize()
    device = [start.elapsed_time(end) for start, end in pairwise(events)]
    return {"device_ms": statistics.median(device), "call_ms": statistics.median(host)}


def layer_times(backend: CudaBackend, layer: tuple[int, ...], batch: int, name: str, rounds: int) -> dict:
    """Times of one layer's products."""
    inputs, outputs, side, stride, count = layer
    config = find(name)
    where = Conv2dGeometry(stride=(stride, stride), padding=(1, 1), dilation=(1, 1), groups=1)
    images = torch.randn(batch, inputs, side, side, device="cuda").relu() * 2
    weight = torch.randn(outputs, inputs, 3, 3, device="cuda") / 4
    x, w = quantize(images, config.x, 1.0), quantize(weight, config.w, 1.0)
    result = torch.conv2d(x, w, stride=stride, padding=1)
    grad = torch.randn_like(result)
    runs = {
        "quantize": lambda: quantize(images, config.x, 1.0),
        "forward": lambda: backend.conv2d(x, w, config, where, dtype=torch.float32),
        "torch forward": lambda: torch.conv2d(x, w, stride=stride, padding=1),
        **{
            rule.name: lambda rule=rule: backend.conv2d_backward(grad, x, w, config, where, rule)
            for rule in map(GradientRule.parse, RULES)
        },
    }
    macs = result.numel() * inputs * 9
    times = {what: timed(run, rounds) for what, run in runs.items()}
    return {"layer": [inputs, outputs, side, stride], "count": count, "macs": macs, "times": times}


def main() -> None:
    parser = Parser(prog="python -m benchmarks.bench_cuda_gradients", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/benchmarks"), metavar="FOLDER")
    parser.add_argument("--config", default="float12", help="of the products (default float12)")
    parser.add_argument("--batch", type=int, default=128, help="images (default 128)")
    parser.add_argument("--rounds", type=int, default=20, help="runs of each (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the operands (default 0)")
    options = parser.parse_args()
    if options.batch < 1 or options.rounds < 1:
        parser.error(f"--batch and --rounds are at least 1, not {options.batch} and {options.rounds}")
    if not torch.cuda.is_available():
        print("no GPU that torch sees: nothing is measured")
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(options.seed)
    try:
        backend = CudaBackend()
        rows = [
            layer_times(backend, layer, options.batch, options.config, options.rounds) for layer in LAYERS
        ]
    except ConfigError as error:
        parser.error(str(error))
    total = {
        what: {
            clock: sum(row["count"] * row["times"][what][clock] for row in rows)
            for clock in ("device_ms", "call_ms")
        }
        for what in rows[0]["times"]
    }
    results = {
        "command": COMMAND,
        "seed": options.seed,
        "card": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "cuda of torch": torch.version.cuda},
        "configuration": find(options.config).name,
        "batch": options.batch,
        "rounds": options.rounds,
        "layers": rows,
        "network": total,
    }
    write_files({"cuda-gradients.json": json.dumps(results, indent=1) + "\n"}, options.output)
    for row in rows:
        speeds = ", ".join(
            f"{what} {each['device_ms']:.3f}/{each['call_ms']:.3f} ms" for what, each in row["times"].items()
        )
        print(f"{row['layer']} {row['macs'] / 1e9:.2f} GMAC: {speeds}")
    print(section(results))


if __name__ == "__main__":
    main()
