"""The coach names the mistakes that raise no error, and is silent on programs that are right."""

import inspect
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_every_model import SMALL
from test_examples import ENVIRONMENT
from test_student_mistakes import CASES, LABELS, Pair, X, Y, leaf, net, rng

import tinygen as tg
from tinygen import data, losses, models, nn, optim, train
from tinygen.learn.mistakes import MISTAKES
from tinygen.models import Form

ROOT = Path(__file__).resolve().parent.parent
quick = pytest.mark.quick
SILENT = {case.name: case for case in CASES if case.silent}
NAMED = {  # which mistake each silent case is, and words of the line it is at
    "no_zero_grad": ("zero_grad", "(w * w).sum().backward()"),
    "no_detach_with_a_new_fake": ("detach", "loss.backward()"),
    "writing_into_data": ("data", "y = (x * x).sum()"),
    "column_against_row": ("all_pairs", "net()(X) - Y.reshape(-1)"),
    "softmax_and_cross_entropy": ("softmax", "cross_entropy(tg.softmax(sure)"),
    "sigmoid_and_bce_with_logits": ("sigmoid", "bce_with_logits(tg.sigmoid(sure)"),
    "learning_rate_too_high": ("rate", "loss.backward()"),
    "no_eval_with_dropout": ("dropout", "model(X).tolist() != model(X)"),
    "math_function_of_a_tensor": ("number", "math.exp(tg.tensor("),
}


def coached(program, **options):
    """The notes on a program."""
    with np.errstate(all="ignore"), tg.coach(**options) as coach:
        program()
    return coach.notes


@quick
@pytest.mark.parametrize("name", SILENT)
def test_a_silent_mistake_is_named_with_its_line(name, capsys):
    (note,) = coached(SILENT[name].run)
    mistake, words = NAMED[name]
    assert note.mistake == mistake
    file, number = re.fullmatch(r"(.*):(\d+)", note.line).groups()
    assert Path(file).name == "test_student_mistakes.py"
    assert words in Path(file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    said = capsys.readouterr().err
    assert f"coach: {note}" in said
    assert f"test_student_mistakes.py:{number}: {note.text} ({MISTAKES[mistake]})" in said


@quick
@pytest.mark.parametrize("case", [c for c in CASES if not c.silent], ids=lambda case: case.name)
def test_a_mistake_that_speaks_for_itself_is_not_named_again(case):
    def program():
        if case.error is None:
            case.run()
        else:
            with pytest.raises(case.error):
                case.run()

    notes = coached(program)
    same = ["detach"] if case.name == "no_detach_with_the_same_fake" else []
    assert [note.mistake for note in notes] == same  # of the same cure


# ---- programs that look odd and are right --------------------------------------------------------

RIGHT = []


def right(program):
    RIGHT.append(program)
    return program


@right
def gradients_added_up_over_parts_of_a_batch():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        for i in range(0, 16, 4):
            (losses.mse(model(X[i : i + 4]), Y[i : i + 4]) / 4).backward()
        optimizer.step()


@right
def zero_grad_after_the_step():
    model = net()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(3):
        losses.mse(model(X), Y).backward()
        optimizer.step()
        optimizer.zero_grad()


@right
def a_gan_whose_generator_fills_the_gradients_of_the_discriminator():
    pair = Pair()
    for _ in range(3):
        pair.train_d(pair.G(X).detach())
        pair.train_g(pair.G(X))


@right
def a_wgan_critic_with_a_penalty():
    pair, game = Pair(), losses.gan("wasserstein")
    draw = rng(5)
    for _ in range(3):
        for _ in range(2):
            fake = pair.G(X).detach()
            loss = game.discriminator(pair.D(X), pair.D(fake))
            loss = loss * 50 + 10 * losses.gradient_penalty(pair.D, X, fake, draw)
            pair.of_D.zero_grad()
            loss.backward()
            pair.of_D.step()
        pair.of_G.zero_grad()
        game.generator(pair.D(pair.G(X))).backward()
        pair.of_G.step()


@right
def a_score_that_grows_from_nearly_nothing():
    w = nn.Parameter([1e-4])
    optimizer = optim.SGD([w], lr=30.0)
    for _ in range(40):
        optimizer.zero_grad()
        (-w).sum().backward()
        optimizer.step()


@right
def frozen_layers():
    model = net()
    for p in model[0].parameters():
        p.requires_grad = False
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(12):
        optimizer.zero_grad()
        losses.mse(model(X), Y).backward()
        optimizer.step()


@right
def an_optimizer_of_the_head_alone():
    model = net()
    optimizer = optim.SGD(model[2].parameters(), lr=0.1)
    for _ in range(12):
        optimizer.zero_grad()
        losses.mse(model(X), Y).backward()
        optimizer.step()


@right
def two_optimizers_of_one_loss():
    model = net()
    optimizers = [optim.SGD(model[i].parameters(), lr=0.1) for i in (0, 2)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        losses.mse(model(X), Y).backward()
        for optimizer in optimizers:
            optimizer.step()


@right
def a_tiny_learning_rate_and_reports():
    model, total = net(), 0.0
    optimizer = optim.SGD(model.parameters(), lr=1e-9)
    for _ in range(25):
        loss = losses.mse(model(X), Y)
        total += float(loss)
        assert math.exp(loss) > 0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < total


@right
def measuring_with_dropout_off():
    model = nn.Sequential(nn.Dense(4, 8, rng=rng()), nn.Dropout(0.5, rng=rng(1)), nn.Dense(8, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        loss = losses.mse(model(X), Y)
        assert loss.item() > 0  # read before its backward pass
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with tg.no_grad():
            assert losses.mse(model.eval()(X), Y).item() > 0
        model.train()


@right
def a_generator_with_dropout_in_the_step_of_the_discriminator():
    pair = Pair()
    pair.G = nn.Sequential(nn.Dense(4, 4, rng=rng(2)), nn.Dropout(0.3, rng=rng(3)))
    for _ in range(3):
        with tg.no_grad():
            fake = pair.G(X)
        pair.train_d(fake)
        assert fake.numpy().shape == (16, 4)


@right
def measuring_without_no_grad():
    model = net()
    for _ in range(25):
        assert float(losses.mse(model(X), Y)) > 0
        assert math.sqrt(losses.mse(model(X), Y)) > 0


@right
def tables_of_all_pairs():
    x, y = leaf(1.0, 2.0, 3.0), tg.tensor([1.0, 2.0, 3.0])
    assert (x.reshape(-1, 1) - y).shape == (3, 3)
    assert (x.expand_dims(1) - x).shape == (3, 3)
    assert (x[:, None] * y).shape == (3, 3)
    assert (tg.tensor(np.ones((3, 1), np.float32)) - y[None]).shape == (3, 3)
    assert (tg.ones((3, 3)) - y).shape == (3, 3)


@right
def a_confident_network_that_is_measured():
    logits = tg.one_hot(LABELS, classes=10) * 100.0
    assert losses.cross_entropy(logits, LABELS + 1).item() > 50
    assert tg.log_softmax(tg.log_softmax(logits)).shape == (4, 10)


@right
def values_written_after_the_backward_pass():
    w = leaf(1.0, 2.0)
    for _ in range(3):
        w.grad = None
        (w * w).sum().backward()
        w.data[...] = w.data - 0.1 * w.grad.numpy()


@right
def averages_of_weights_and_weights_that_are_loaded():
    model = net()
    optimizer, average = optim.SGD(model.parameters(), lr=0.1), optim.EMA(model, 0.9)
    loss = losses.mse(model(X), Y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    average.update()
    model.load_state_dict(model.state_dict())
    losses.mse(model(X), Y).backward()


@right
def a_hinge_that_is_satisfied_and_an_image_that_is_black():
    x = leaf(*np.linspace(5, 9, 16)).reshape(2, 8)
    for _ in range(25):
        assert not tg.relu(1.0 - x).numpy().any()
    for scale in (0.1, *[100.0] * 25):  # it was not flat at first
        assert tg.tanh(x * scale).shape == (2, 8)


@right
def a_total_of_one_step():
    model, total = net(), 0.0
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        total = 0.0
        for _ in range(3):
            total = total + losses.mse(model(X), Y)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()


@right
def targets_a_little_outside():
    target = tg.tensor(np.linspace(-1.1, 1.1, 16, dtype=np.float32).reshape(4, 4))
    losses.mse(tg.tanh(leaf(*np.linspace(0, 15, 16)).reshape(4, 4)), target).backward()


@quick
@pytest.mark.parametrize("program", RIGHT, ids=lambda program: program.__name__)
def test_a_program_that_is_right_gets_no_note(program):
    assert coached(program) == []


# ---- mistakes that no case above makes -----------------------------------------------------------

WRONG = []


def wrong(mistake, words):
    def add(program):
        WRONG.append((program, mistake, words))
        return program

    return add


@wrong("sigmoid", "leave the sigmoid out")
def sigmoid_before_a_gan_loss():
    losses.gan("non_saturating").generator(tg.sigmoid(X[:, :1]))


@wrong("first_loss", "0..255 by 1 / 255")
def images_that_were_not_scaled():
    layer = nn.Dense(4, 10, rng=rng())
    losses.cross_entropy(layer(X[:4] * 255.0), LABELS).backward()


@wrong("range", "tanh gives -1 to 1")
def images_of_bytes_against_tanh():
    losses.mse(tg.tanh(leaf(*np.linspace(0, 15, 16)).reshape(4, 4)), tg.full((4, 4), 200.0))


@wrong("idle", "'2.weight'")
def a_layer_that_is_never_used():
    model = nn.Sequential(nn.Dense(4, 4, rng=rng()), nn.Dense(4, 1, rng=rng()), nn.Dense(1, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(12):
        optimizer.zero_grad()
        losses.mse(model[1](model[0](X)), Y).backward()
        optimizer.step()


@wrong("dead", "all 128 results are 0")
def a_dead_layer():
    model = net()
    model[0].load_state_dict({**model[0].state_dict(), "bias": np.full(8, -1e3, np.float32)})
    for _ in range(21):
        model(X)


@wrong("flat", "tanh: over 90 %")
def a_saturated_layer():
    layer = nn.Sequential(nn.Dense(4, 8, rng=rng()), nn.Tanh())
    for _ in range(21):
        layer(X * 1e4)


@wrong("batch_norm", "nn.LayerNorm")
def batch_norm_in_a_function_that_is_penalised():
    critic = nn.Sequential(nn.Dense(4, 8, rng=rng()), nn.BatchNorm(8), nn.Dense(8, 1))
    losses.r1_penalty(lambda x: critic(x), X)


@wrong("number", "which mul uses")
def a_number_that_is_used_again():
    x = leaf(0.7)
    y = tg.sin(x).sum()
    (math.exp(y) * x).sum().backward()


@wrong("held", "loss.item()")
def totals_that_hold_the_graphs():
    model, total = net(), 0.0
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        loss = losses.mse(model(X), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss


@wrong("dropout", "net.eval()")
def dropout_on_without_recording():
    model = nn.Sequential(nn.Dense(4, 8, rng=rng()), nn.Dropout(0.5, rng=rng(1)), nn.Dense(8, 1))
    with tg.no_grad():
        model(X).numpy()


@quick
@pytest.mark.parametrize(("program", "mistake", "words"), WRONG, ids=[w[0].__name__ for w in WRONG])
def test_a_mistake_is_named_once_a_line(program, mistake, words):
    (note,) = coached(program)
    assert note.mistake == mistake
    assert words in note.text
    file, number = re.fullmatch(r"(.*):(\d+)", note.line).groups()
    first = inspect.getsourcelines(program)[1]
    assert Path(file).name == "test_coach.py"
    assert first < int(number) < first + 16
    assert coached(program, leave_out=(mistake,)) == []


# ---- the examples, the models, the time ----------------------------------------------------------


@pytest.fixture(scope="module")
def strokes():
    return data.load("strokes", n=20, size=12)


@pytest.mark.parametrize("name", list(models.MODELS))
def test_a_step_of_each_model_gets_no_note(name, strokes):
    forms = {"train": Form(strokes.shape, len(strokes.classes))}
    model = models.find(name).build_from(forms, SMALL.get(name, {}), rng())
    with tg.coach() as coach:
        train.fit(model, strokes, 1, batch_size=20, progress=False)
    assert coach.notes == []
    assert coach._updates >= 1  # a compiled training is looked into


@quick
def test_the_time_is_less_than_twice():
    model = nn.Sequential(nn.Dense(784, 64, rng=rng(0)), nn.ReLU(), nn.Dense(64, 10, rng=rng(1)))
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    images, labels = rng(2).uniform((64, 784)), rng(3).integers(10, 64)

    def seconds():
        start = time.process_time()
        for _ in range(20):
            loss = losses.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.process_time() - start

    plain, coached = [], []
    seconds()
    for _ in range(8):
        plain.append(seconds())
        with tg.coach():
            coached.append(seconds())
    assert min(coached) < 2 * min(plain)


# ---- switching it on -----------------------------------------------------------------------------

PROGRAM = """
import tinygen as tg
w = tg.nn.Parameter([1.0])
optimizer = tg.optim.SGD([w], lr=0.1)
for _ in range(3):
    (w * w).sum().backward()
    optimizer.step()
print("done")
"""


def run_in(folder, text, **environment):
    (folder / "train.py").write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env={**ENVIRONMENT, **environment},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


@quick
def test_a_whole_program_is_watched(tmp_path):
    done = run_in(tmp_path, PROGRAM, TINYGEN_COACH="1")
    assert done.stdout == "done\n"
    assert done.stderr.startswith("coach: train.py:6: backward adds to gradients that SGD.step")
    assert done.stderr.count("\n") == 1  # three steps, one line


@quick
def test_a_program_may_switch_it_on_and_off(tmp_path):
    text = PROGRAM.replace("for _", "tg.coach(on=True)\nfor _", 1) + "tg.coach(on=False)\n"
    assert "coach: train.py:7:" in run_in(tmp_path, text).stderr
    assert run_in(tmp_path, PROGRAM).stderr == ""


@quick
def test_a_compiled_step_is_said_to_be_unseen(capsys):
    @tg.compile
    def step(x):
        return x * 2

    with tg.coach():
        step(X)
    assert "1 compiled steps were not looked into; TINYGEN_COMPILE=0" in capsys.readouterr().err


@quick
def test_it_changes_no_bit_and_stops_nothing():
    def weights():
        model = net()
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        for _ in range(5):
            losses.mse(model(X), Y).backward()  # a mistake, too
            optimizer.step()
        return model.state_dict()

    plain = weights()
    with tg.coach() as coach:
        seen = weights()
    assert [note.mistake for note in coach.notes] == ["zero_grad"]
    assert all(np.array_equal(plain[name], seen[name]) for name in plain)


@quick
def test_an_error_passes_through_with_the_notes_before_it(capsys):
    def program():
        raise KeyError((net()(X) - Y.reshape(-1)).shape)

    with pytest.raises(KeyError), tg.coach():
        program()
    assert "all pairs" in capsys.readouterr().err


@quick
@pytest.mark.parametrize("left_out", [("drop",), "dropout"])
def test_what_is_left_out_must_be_a_mistake(left_out):
    with pytest.raises(ValueError, match=r"leave_out is .*expected a tuple of zero_grad, detach"):
        tg.coach(leave_out=left_out)


@quick
def test_each_mistake_is_explained_somewhere():
    for place in MISTAKES.values():
        assert place.startswith("tinygen.") or (ROOT / place).is_file()
