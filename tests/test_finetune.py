"""Training through the accumulator: its arithmetic, its loop, and what an interruption changes: nothing."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from golden import accumulate as golden
from golden.catalog import find
from golden.config import ConfigError, FloatFormat, MacConfig
from sim.finetune.arithmetic import Biases, plan, products, two_stages, without_underflow
from sim.finetune.float32 import Float32Backend
from sim.finetune.images import ImageBatches, accuracy
from sim.finetune.training import Batches, Optimization, Optimizer, Stage, evaluate, step_seed, train
from sim.inject import accumulate
from sim.kernels.geometry import Conv2dGeometry
from sim.operands import LayerConfig, channel_scales, fit_operands, quantize_operand

CONFIG = find("float12")
SGD = Optimization(
    optimizer=Optimizer.SGD, momentum=0.9, weight_decay=1e-3, train_batch_norm=True, clip_norm=None
)
ADAM = Optimization(
    optimizer=Optimizer.ADAM, momentum=0.9, weight_decay=1e-3, train_batch_norm=True, clip_norm=1.0
)


def tensor(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(4 * 6 * 6, 10),
        )


def batches(count=40, batch_size=8):
    labels = torch.arange(count) % 10
    return ImageBatches(tensor(count, 1, 8, 8).abs(), labels, batch_size=batch_size, augment=True)


def stages(model, data, rule="recursive/of"):
    layers = plan(model, [data.images[:16]], CONFIG, Biases.TENSOR, seed=0)
    return two_stages(layers, epochs=(1, 1), rate=0.05, rule=rule)


# --- Arithmetic


@pytest.mark.parametrize(
    "name",
    [
        "float12",
        "float8-rne-g1",
        "float12-px",
        "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16_o_e5m10b14_rz",
        "fixed12",
        "fixed12-wrap",
    ],
)
def test_without_underflow_keeps_the_top_and_loses_nothing_small(name):
    config = find(name)
    config = replace(config, x=replace(config.x, bias=9), w=replace(config.w, bias=9))
    wider = without_underflow(config)
    for old, new in (
        (config.product, wider.product),
        (config.accumulator, wider.accumulator),
        (config.outer, wider.outer),
    ):
        if old is not None and isinstance(old.format, FloatFormat):
            assert new.format.max_value == old.format.max_value
            assert new.format.min_exponent < old.format.min_exponent
    assert wider.x == config.x and wider.w == config.w and wider.chunk_size == config.chunk_size
    small = torch.full(
        (1, 1), 2.0**config.x.min_exponent * (1 + 2.0**-config.x.man_bits), dtype=torch.float64
    )
    assert golden.matmul(small, small, config).item() == 0
    product = golden.matmul(small, small, wider).item()
    assert 0 < product <= small.item() ** 2 < 1.125 * product


def test_a_fixed_accumulator_without_underflow_is_as_wide_above():
    config = find("fixed12")
    number, wider = config.accumulator.format, without_underflow(config).accumulator.format
    assert wider.lsb == config.product_lsb
    assert wider.bits + wider.lsb == number.bits + number.lsb


def test_integers_underflow_nowhere():
    assert without_underflow(find("int12")) == find("int12")


def test_channel_scales_are_the_least_powers_of_two_that_hold_each_channel():
    number = CONFIG.w
    weight = tensor(6, 3, 3, 3) * 2.0 ** torch.arange(-9, 9, 3)[:, None, None, None]
    weight[5] = 0
    scales = channel_scales(weight, number)
    largest = weight.flatten(1).abs().amax(1).double()
    assert torch.equal(scales, 2.0 ** scales.log2().round())
    assert (largest <= scales * number.max_value).all()
    assert (largest[:5] > scales[:5] / 2 * number.max_value).all() and scales[5] == 1


@pytest.mark.parametrize("convolution", [False, True], ids=["linear", "conv2d"])
def test_biases_by_channel_are_products_channel_by_channel(convolution):
    layer = nn.Conv2d(2, 3, 3, bias=False) if convolution else nn.Linear(20, 3, bias=False)
    with torch.no_grad():
        layer.weight.mul_(2.0 ** torch.tensor([-6, 0, 5]).reshape(3, *[1] * (layer.weight.ndim - 1)))
    x = tensor(4, 2, 6, 6).abs() if convolution else tensor(4, 20)
    (fitted,) = plan(layer, [x], CONFIG, Biases.CHANNEL, seed=0)
    assert len(set(fitted.w_scale.tolist())) == 3
    with torch.no_grad(), accumulate([fitted]):
        got = layer(x)
    for channel in range(3):
        one = copy.deepcopy(layer)
        one.weight = nn.Parameter(layer.weight[channel : channel + 1])
        alone = LayerConfig(
            config=fitted.config, x_scale=1.0, w_scale=fitted.w_scale[channel].item(), length=fitted.length
        )
        with torch.no_grad(), accumulate([alone]):
            assert torch.equal(got[:, channel : channel + 1], one(x))


def test_layers_with_scales_by_channel_are_equal_by_their_numbers():
    def layer(*scales):
        return LayerConfig(
            config=CONFIG, x_scale=1.0, w_scale=torch.tensor(scales, dtype=torch.float64), length=None
        )

    assert layer(1, 2) == layer(1, 2) and hash(layer(1, 2)) == hash(layer(1, 2))
    assert layer(1, 2) != layer(1, 4) and layer(1, 2) != fit_operands(CONFIG, 1, 1, int_bits=8, length=None)


def test_fixed_biases_are_one_for_all_layers():
    model, data = network(), batches()
    layers = plan(model, [data.images], CONFIG, Biases.FIXED, seed=0)
    assert len(layers) == 2
    assert len({(each.config.x, each.config.w, each.config.accumulator) for each in layers}) == 1
    flexible = plan(model, [data.images], CONFIG, Biases.TENSOR, seed=0)
    assert len({(each.config.x, each.config.w) for each in flexible}) == 2


def test_biases_by_channel_need_float_weights():
    with pytest.raises(ConfigError, match="biases by channel are of float weights, and int8_int8"):
        plan(nn.Linear(4, 2), [tensor(3, 4)], find("int12"), Biases.CHANNEL, seed=0)


def test_the_twin_has_the_same_operands_and_float32_sums():
    x, layer = tensor(5, 40), nn.Linear(40, 7)
    layers = plan(layer, [x], CONFIG, Biases.TENSOR, seed=0)
    options = dict(rule="recursive/of", backend="cpu", backward=None, underflow=True)
    with products(layers, narrow=False, **options)(0):
        got = layer(x)
        got.sum().backward()
    config = layers[0].config
    a, b = quantize_operand(x, config.x, 1.0), quantize_operand(layer.weight, config.w, 1.0)
    assert torch.equal(got, functional.linear(a, b) + layer.bias)
    assert torch.equal(layer.weight.grad, a.sum(0).expand(7, 40)), "of products that nothing is cut from"
    with torch.no_grad(), products(layers, narrow=True, **{**options, "rule": None})(0):
        assert not torch.equal(layer(x), got), "the narrow accumulator should make a difference here"


@pytest.mark.parametrize("groups", [1, 2])
def test_the_twins_convolution_has_torchs_gradients(groups):
    images = tensor(2, 4, 6, 5).requires_grad_()
    weight = tensor(6, 4 // groups, 3, 3).requires_grad_()
    geometry = Conv2dGeometry(stride=(2, 1), padding=(1, 0), dilation=(1, 1), groups=groups)
    wanted = functional.conv2d(images, weight, None, (2, 1), (1, 0), (1, 1), groups)
    grad = tensor(*wanted.shape, seed=5)
    backend = Float32Backend()
    assert torch.equal(backend.conv2d(images, weight, CONFIG, geometry, dtype=torch.float32), wanted)
    gradients = torch.autograd.grad(wanted, (images, weight), grad)
    for ours, theirs in zip(
        backend.conv2d_backward(grad, images, weight, CONFIG, geometry, None), gradients, strict=True
    ):
        torch.testing.assert_close(ours, theirs)  # torch's own, whose order of sums is its choice


# --- The loop


def run(model, data, checkpoint=None, *, optimization=SGD, every=1000, stop_after=None, fail_after=None):
    """Train; ``stop_after``: ask it to stop after that many steps; ``fail_after``: die there."""
    steps = 0

    def report(done, _total, _loss):
        nonlocal steps
        steps = done
        if done == fail_after:
            raise KeyboardInterrupt

    return train(
        model,
        data,
        stages(model, data),
        optimization,
        seed=3,
        checkpoint=checkpoint,
        checkpoint_every=every,
        report=report,
        stop=lambda: steps == stop_after,
    )


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def uninterrupted():
    model, data = network(), batches()
    start = copy.deepcopy(model)
    trained = run(model, data)
    assert trained.finished and trained.steps == 10 and len(trained.losses) == 2
    assert not same_weights(start, model)
    return model, trained


@pytest.mark.parametrize("step", range(1, 10))
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, uninterrupted, step):
    first, second, data = network(), network(), batches()
    stopped = run(first, data, tmp_path / "run.pt", stop_after=step)
    assert not stopped.finished and stopped.steps == step
    resumed = run(second, data, tmp_path / "run.pt")
    assert resumed.finished and resumed.losses == uninterrupted[1].losses
    assert same_weights(second, uninterrupted[0])


@pytest.mark.parametrize("optimization", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(tmp_path, optimization):
    whole, killed, resumed, data = network(), network(), network(), batches()
    run(whole, data, optimization=optimization)
    with pytest.raises(KeyboardInterrupt):
        run(killed, data, tmp_path / "run.pt", optimization=optimization, every=3, fail_after=8)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"], "nothing unfinished is left"
    assert torch.load(tmp_path / "run.pt", weights_only=True)["progress"][0] == 6
    run(resumed, data, tmp_path / "run.pt", optimization=optimization)
    assert same_weights(resumed, whole)


def test_a_finished_run_is_not_trained_again(tmp_path, uninterrupted):
    model, data = network(), batches()
    run(model, data, tmp_path / "run.pt")
    again = network()
    trained = run(again, data, tmp_path / "run.pt", fail_after=1)
    assert trained.finished and same_weights(again, uninterrupted[0])


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    run(network(), batches(), tmp_path / "run.pt", stop_after=2)
    with pytest.raises(ConfigError, match="is the checkpoint of another training"):
        run(network(), batches(), tmp_path / "run.pt", optimization=ADAM)


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run(network(), batches(), stop_after=2)
    assert torch.equal(torch.rand(3), expected)


def test_stages_of_different_arithmetic_and_a_rate_that_falls_to_zero():
    rates, seeds = [], []

    class Recorded(torch.optim.SGD):
        def step(self, *arguments):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments)

    def arithmetic(seed):
        seeds.append(seed)
        return nullcontext()

    model, data = network(), batches()
    two = [Stage(name=str(i), epochs=1, rate=rate, products=arithmetic) for i, rate in ((0, 0.1), (1, 0.01))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "SGD", Recorded)
        train(model, data, two, SGD, seed=0)
    assert len(set(seeds)) == 10, "each step has random words of its own"
    assert rates[0] == 0.1 and rates[5] == 0.01
    assert rates[:5] == sorted(rates[:5], reverse=True) and 0 < rates[4] < 0.02


def test_batch_norm_stays_where_it_is_frozen():
    model, data = network(), batches()
    before = copy.deepcopy(model[1].state_dict())
    run(model, data, optimization=replace(SGD, train_batch_norm=False), stop_after=3)
    assert all(torch.equal(value, before[name]) for name, value in model[1].state_dict().items())
    run(model, data, stop_after=3)
    assert not torch.equal(model[1].running_mean, before["running_mean"])
    assert not torch.equal(model[1].weight, before["weight"])


def test_an_extra_loss_moves_the_weights():
    data = batches()
    plain, pulled = network(), network()
    stage = [Stage(name="float32", epochs=1, rate=0.05, products=lambda seed: nullcontext())]
    train(plain, data, stage, SGD, seed=0)
    train(pulled, data, stage, SGD, seed=0, extra_loss=lambda model: model[5].weight.square().sum())
    assert pulled[5].weight.norm() < plain[5].weight.norm()


def test_a_twin_learns_with_the_same_images_in_the_same_order():
    data = batches()
    first, second = data.batch(1, 0, 2), data.batch(1, 0, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], data.batch(1, 1, 2)[0])
    assert not torch.equal(first[0], data.batch(2, 0, 2)[0])
    labels = torch.cat([data.batch(1, 0, step)[1] for step in range(data.steps)])
    assert torch.equal(labels.sort().values, data.labels.sort().values), "an epoch has every image once"


def test_augmentation_shifts_and_mirrors_and_changes_nothing_else():
    image = torch.arange(1.0, 65).reshape(1, 1, 8, 8)
    padded = functional.pad(image, [4] * 4)
    shifted = {
        tuple(side[0, 0, i : i + 8, j : j + 8].flatten().tolist())
        for side in (padded, padded.flip(3))
        for i in range(9)
        for j in range(9)
    }
    data = ImageBatches(
        image.expand(64, 1, 8, 8), torch.zeros(64, dtype=torch.int64), batch_size=64, augment=True
    )
    got = {tuple(each.flatten().tolist()) for each in data.batch(0, 0, 0)[0]}
    assert got <= shifted and len(got) > 32


def test_seeds_made_of_others_differ():
    made = {step_seed(*numbers) for numbers in [(0, 0), (0, 1), (1, 0), (0, 0, 0), (0,), (1,), (256, 3, 7)]}
    assert len(made) == 7 and all(0 <= seed < 2**63 for seed in made)


def test_evaluation_is_by_the_arithmetic_that_is_asked_for():
    model, data = network().eval(), batches()
    layers = plan(model, [data.images], CONFIG, Biases.TENSOR, seed=0)
    options = dict(rule=None, backend="cpu", backward=None, underflow=True)
    narrow = evaluate(model, data.images.split(16), products(layers, narrow=True, **options))
    with torch.no_grad(), accumulate(layers):
        assert torch.equal(narrow, model(data.images))
    twin = evaluate(model, data.images.split(16), products(layers, narrow=False, **options))
    assert not torch.equal(narrow, twin)
    labels = narrow.argmax(1)
    assert accuracy(narrow, labels) == 1 and accuracy(-narrow, labels) == 0


def test_fine_tuning_recovers_what_a_narrow_accumulator_costs():
    """An accumulator that saturates often: the network learns to live with it."""

    class Points(Batches):
        steps, name = 20, "points"

        def batch(self, seed, epoch, step):
            x = tensor(32, 64, seed=step_seed(seed, epoch, step) % 2**31)
            return x, (x[:, :32].sum(1) > x[:, 32:].sum(1)).long()

        def loss(self, model, batch):
            return functional.cross_entropy(model(batch[0]), batch[1])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
    data = Points()
    train(
        model,
        data,
        [Stage(name="float32", epochs=4, rate=5e-3, products=lambda s: nullcontext())],
        ADAM,
        seed=0,
    )
    config = MacConfig.parse("e3m4_e3m4_p_e3m4b6_rz_a_e3m4b6_rz_c16")
    judged = products(config, rule=None, backend="cpu", backward=None, underflow=True, narrow=True)
    x, labels = data.batch(99, 0, 0)
    before = functional.cross_entropy(evaluate(model, [x], judged), labels)
    narrow = products(config, rule="recursive/of", backend="cpu", backward=None, underflow=True, narrow=True)
    train(model, data, [Stage(name="narrow", epochs=3, rate=5e-3, products=narrow)], ADAM, seed=1)
    after = functional.cross_entropy(evaluate(model, [x], judged), labels)
    assert after < before
