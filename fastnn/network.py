"""Network: layers and their parameters; fit, predict, evaluate, save, load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _arrays, _statistics, lbfgs, losses, optimizers, structure, training
from . import engine as engines
from . import metrics as metrics_of
from ._arrays import Array
from ._errors import count, flag, fraction, held, positive, shown, unknown, whole
from .activations import Activation
from .augmentation import Augment
from .callbacks import Callback, Callbacks
from .columns import Columns
from .layers import Dense, Layer
from .layers.embed import check_codes
from .losses import Function, Loss
from .metrics import Measure
from .optimizers import Optimizer
from .program import (
    WIDTH,
    Builder,
    Program,
    aligned_copy,
    block_places,
    copy_statistics,
    flops,
    in_training,
    normalises,
    pairs,
    prepare,
    views,
)
from .rows import Meaning, Rows, meaning_of, split, with_class_weights
from .shards import Shards
from .training import History

PlainFunction = Callable[["Network", int, dict[str, float]], object]
ClassWeight = dict[int, float] | str  # by label, or "balanced"
Data = tuple[Array, Array, NDArray[np.float64] | None]  # x, y, and the weights of rows if any

DTYPES = ("float32", "float64")
BLOCK = 16384  # rows at most in one call of an engine
LOOKED = 1 << 22  # numbers that an engine looks at in one call, before it learns from them
BLOCK_COST = 1 << 32  # flops at most in one such call, so that Ctrl-C is prompt


class Network:
    """A multilayer perceptron: layers, one after the other.

    inputs: I, the features of one row. layers: those of `fastnn.layers`, the last one a `Dense`.
    input_scale: inputs are multiplied by it, e.g. 1 / 255 for bytes. standardize: for columns of
    different scales; from each input column its mean is taken, and the rest divided by its
    deviation, both learned from the rows of the first fit (a column that never varied becomes 0).
    Targets of identity outputs are standardised too, by the mean of each and the deviation of all,
    so that the loss is the same but for a factor (huber and log_cosh take errors in deviations).
    What goes in and comes out stays in the units of the data. loss: its name, or what `losses`
    makes of numbers, such as `losses.Huber(2.0)`; by default cross_entropy after softmax,
    binary_cross_entropy after sigmoid, else mean_squared_error. Or a function, called as
    f(y_true=labels or targets, y_pred=outputs (n, O)), that gives the mean loss over these rows
    and its gradient (n, O) with respect to y_pred; both see standardised targets. A large batch
    goes through it in parts. It has no weights of rows, and of it only the name is saved.
    dtype: "float32" or "float64". seed: initial weights and shuffling follow from it; None draws
    one. engine: "auto", "reference", or one build by name. num_threads: by default as
    `set_num_threads` says; results do not depend on it.

    Everywhere below, x is (B, I), or (B, ...) of the same size, of any real dtype; it is not copied
    as a whole. y is labels (B,) from 0 to O - 1, or targets (B, O); with one output also (B,).
    Where the loss has several outputs for a target (quantile, gaussian), they are (B, T), T < O.
    Methods raise ValueError for a wrong shape, no rows, NaN or infinity, and TypeError for a wrong
    dtype.
    """

    def __init__(
        self,
        inputs: int,
        layers: Iterable[Layer],
        *,
        input_scale: float = 1.0,
        standardize: bool = False,
        loss: str | Loss | Function | None = None,
        dtype: DTypeLike = "float32",
        seed: int | None = 0,
        engine: str = "auto",
        num_threads: int | None = None,
    ) -> None:
        layers = listed("layers", layers)
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"expected layers such as Dense, got {type(layer).__name__}")
        if not layers:
            raise ValueError("expected at least one layer, got none")
        *_, last = layers
        if not isinstance(last, Dense):
            raise ValueError(f"expected a Dense as the last layer, got {last}")
        self.inputs = count("inputs", inputs)
        self.outputs = last.units
        self.dtype = float_dtype(dtype)
        self.input_scale = held("input_scale", input_scale, self.dtype)
        self.standardize = flag("standardize", standardize)
        if standardize and self.input_scale != 1.0:
            raise ValueError(f"expected no input_scale with standardize, got {input_scale}")
        check_codes(layers, standardize, self.input_scale)
        self.output_center: NDArray[np.float64] | None = None  # (T,), learned with the inputs'
        self.output_scale = 1.0  # outputs are h * output_scale + output_center
        self.activation = output = last.activation  # of the outputs
        self.loss = losses.default(output) if loss is None else losses.get(loss)
        losses.fits(self.loss, output, self.outputs)
        self.seed = checked_seed(seed)
        self.num_threads = num_threads
        self._largest = float(np.finfo(self.dtype).max)
        self._engine_wanted = engine
        self._engine = engines.get(engine, self.dtype.name)
        self._build(layers)
        self.history: History | None = None  # of the latest fit
        self.classes: tuple[str | int | float | bool, ...] | None = None  # names, one an output
        self.features: tuple[str, ...] | None = None  # names of the inputs
        self.target: str | None = None  # the name of what is predicted
        self.trained_on: str | None = None  # what the rows were
        self.columns: Columns | None = None  # that make the inputs of a table
        self.trained = training.State()  # how far, and with what: a next fit goes on from there
        self._holder: dict[str, object] = {}  # the fit that is changing the network, if any

    def _build(self, layers: list[Layer]) -> None:
        """The program of these layers, and their initial weights. MemoryError if too large."""
        sizes = [self.inputs, *(width for layer in layers for width in layer.widths)]
        check_sizes(sizes, self.dtype)
        try:
            self._lay_out(layers)
        except MemoryError:
            raise MemoryError(too_large(sizes, self.dtype)) from None
        self._block = max(64, min(BLOCK, BLOCK_COST // self.flops))
        self._unit = training.unit(self.program)
        self._places = block_places(self.program)

    def _lay_out(self, layers: list[Layer]) -> None:
        builder, values = Builder(self.inputs), [0]
        for number, layer in enumerate(layers):
            layer.check(self.dtype)
            values.append(layer.add(builder, values[-1], f"layers.{number}"))
        self.program = builder.program(
            values[1:],
            self.loss.code,
            self.dtype,
            self.input_scale,
            self.seed,
            self.loss.numbers,
        )
        if self.loss.function is not None and normalises(self.program):
            raise ValueError(f"expected a loss of fastnn's with BatchNorm, got {self.loss.name}")
        names = [f"layers.{number}" for number in range(len(layers))]
        pairs = zip(layers, names, strict=True)
        self.layers = tuple(layer.bound(self.program, name) for layer, name in pairs)
        number = 0
        for layer in self.layers:
            number = layer.initialize(self.seed, number)

    @property
    def num_threads(self) -> int | None:
        """How many threads run this network; None is as many as `get_num_threads` says."""
        return self._num_threads

    @num_threads.setter
    def num_threads(self, num_threads: int | None) -> None:
        wanted = num_threads
        self._num_threads = None if wanted is None else engines.useful("num_threads", wanted)

    @property
    def flops(self) -> int:
        """Floating-point operations of one row's way forward, products only."""
        return flops(self.program)

    def fit(
        self,
        x: ArrayLike | Iterable[Any] | Shards,
        y: ArrayLike | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        optimizer: str | Optimizer = "adam",
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        validation_data: tuple[ArrayLike, ...] | None = None,
        validation_split: float = 0.0,
        metrics: Iterable[str | Measure] = (),
        shuffle: bool = True,
        augment: Augment | None = None,
        callbacks: Iterable[Callback | PlainFunction] = (),
        verbose: int = 1,
        resume: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train on x (B, I) and y for some epochs; returns what each epoch brought.

        x may be `Shards`, without y: rows then are drawn shard by shard. Or it is an iterable of
        batches (x, y) or (x, y, sample_weight), such as a list, a generator or a PyTorch
        DataLoader: each batch is one step, batch_size and shuffle do not count, and each epoch
        begins it again; a fit on one cannot be resumed, and learns no scales.

        The last batch of an epoch may be short (with batch norm not of one row). A second fit goes
        on where the first one ended, with the optimizer's state if the optimizer is equal; a
        schedule starts anew. Callbacks are
        told how it goes; a plain function is called as callback(network, epoch, logs) after an
        epoch, counted from 1. Training stops after an epoch for which one returns True (or NumPy's
        True; not 1, nor an array). verbose=0 is silent, 1 shows progress on stderr.

        sample_weight (B,): how much each row counts, at least 0. The loss of a batch is the mean
        sum(w * l) / sum(w), as in scikit-learn (Keras divides by the number of rows), and history
        and figures are such means; a batch whose weights are all 0 has no gradient. class_weight:
        {label: weight}, of other labels 1, or "balanced", rows / (classes * rows of the class);
        it multiplies sample_weight, and does not count in validation, whose rows have weights as
        validation_data=(x, y, sample_weight).

        validation_split: instead of validation_data, a share of the rows in [0, 1) that are not
        learned from, drawn by the seed, of each label alike (Keras takes the last rows). metrics:
        what is had of the validation rows after each epoch besides, as for `evaluate`.

        augment: rows are images, deformed anew each time they are learned from; validation rows
        stay as they are. Raises ValueError for rows that are not images of its shape.

        resume: a file that `Checkpoint` wrote in another fit, which this one continues to the same
        bits, on any number of threads, given the same rows; history and schedule go on as well.
        (The last bits of a loss in the history depend on where checkpoints cut the sum.) Raises
        ValueError that names what is not as it was there, FormatError for another file.

        Ctrl-C ends training at once; the weights stay as they are, and `network.history` has the
        epochs that were completed, validation included. An epoch that was cut short counts with its
        updates, not as an epoch: the next fit goes on with the optimizer's state and step, and
        draws that epoch's order of rows again. Raises DivergenceError if the loss or a weight is
        not finite any more; the weights are then those from the start of that epoch. Raises
        RuntimeError while another fit trains the network, in another thread or in a callback's
        caller; all that does not change a network may be called meanwhile.
        """
        settings = settings_of(
            self,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            shuffle=shuffle,
            callbacks=callbacks,
            verbose=verbose,
            metrics=metrics,
            augment=self._augment(augment, getattr(x, "shape", ())),
        )
        if resume is not None and isinstance(settings.optimizer, lbfgs.LBFGS):
            raise ValueError(f"expected no resume with LBFGS, got {shown(resume)}")
        share = self._split_share(validation_split, validation_data, settings.metrics)
        hold = training.Hold(self._holder)
        try:
            with hold:
                place = None
                data: Sequence[Rows] | training.Stream
                if y is None and not isinstance(x, Shards):
                    if sample_weight is not None:
                        raise ValueError("expected sample_weight in the batches of an iterable")
                    data, validation = self._stream(x, validation_data, share, resume, class_weight)
                else:
                    pairs = self._checked(x, y, sample_weight)
                    given = None if validation_data is None else self._validation(validation_data)
                    parts = self._split(share, pairs)
                    counts = [len(x) for x, *_ in pairs] if parts is None else [len(parts[0])]
                    training.check_batches(self.program, counts, settings.batch_size)
                    if resume is not None:
                        place = self._resumed(resume, sum(counts), settings)
                    data, validation = self._rows_of_fit(pairs, given, parts, class_weight)
                return self._run(data, validation, settings, place).all_epochs()
        finally:
            hold.release()  # again: an interrupt may have come just before the first time

    def _augment(self, augment: Augment | None, shape: tuple[int, ...]) -> Augment | None:
        """How rows of an x of this shape are deformed, checked."""
        if augment is not None:
            if not isinstance(augment, Augment):
                raise TypeError(f"expected augment as fastnn.Augment(...), got {shown(augment)}")
            augment.check(self.inputs, shape)
        return augment

    def train_on_batch(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        optimizer: str | Optimizer = "adam",
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
    ) -> dict[str, float]:
        """One update from the rows x (B, I) and y; returns their figures just before it.

        The optimizer's state goes on if it is equal to the latest one. Its rate is a number, or a
        function of how many updates it has made; a schedule, which asks how many there will be,
        raises ValueError. Otherwise as `fit`.
        """
        wanted = optimizers.get(optimizer)
        hold = training.Hold(self._holder)
        try:
            with hold:
                pairs = self._checked(x, y, sample_weight)
                training.check_batches(self.program, [len(pairs[0][0])], len(pairs[0][0]))
                (rows,), _ = self._rows_of_fit(pairs, None, None, class_weight)
                silent = Callbacks([], self)
                settings = training.Settings(1, len(rows), wanted, False, self.seed, silent, 0)
                return training.one_step(self._runner(), rows, self.trained, settings)
        finally:
            hold.release()

    def _resumed(
        self, path: str | os.PathLike[str], rows: int, settings: training.Settings
    ) -> training.Place:
        """Take weights, state and counts from a checkpoint; returns where its fit stood."""
        from . import files

        place = training.Place(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            rows=rows,
            shuffle=settings.shuffle,
            augment=settings.augment,
        )
        wanted = training.State(optimizer=settings.optimizer, place=place)
        model, tensors = files.checkpoint(path, self, wanted)
        self._take(model, tensors)
        found: training.Place = model["fit"]
        return found

    def _take(self, model: dict[str, Any], tensors: dict[str, Array]) -> None:
        """Weights, scales, and how far training has come, from what a file holds."""
        from . import files

        program, optimizer = self.program, model["optimizer"]
        self.trained = training.State()  # until all is there
        if optimizer is not None:
            factors = optimizer.factors(program.names)
            prepare(program, optimizer.code, optimizer.slots, factors)
        for name, view in files.views(program, program.parameters, program.state).items():
            view[...] = tensors.pop(name)
        copy_statistics(program, program.parameters, in_training(program))
        self.output_center = tensors.get("outputs.center")
        self.output_scale = model["output_scale"]
        program.center, program.factor = tensors.get("inputs.center"), tensors.get("inputs.factor")
        self.trained = training.State(model["epochs"], model["steps"], optimizer, model["meaning"])
        self.trained.seen = training.fingerprint(program)

    def predict(self, x: ArrayLike, out: Array | None = None) -> Array:
        """The outputs (B, O), probabilities after softmax or sigmoid; they fill `out` if given.

        `out` must be C-contiguous, of the network's dtype, and in memory of its own.
        """
        if (
            (type(x) is ndarray or type(x) is np.memmap)  # not masked, say: no engine sees a mask
            and x.ndim == 2
            and 0 < len(x) <= self._block
        ):
            result = self._room(out, x)
            try:  # the quick way, for what an engine can read as it is
                if self._learned() and self._engine.forward(
                    self.program, x, result, self._threads()
                ):
                    return result if self.output_center is None else self._in_units(result)
            except (TypeError, ValueError):  # the careful way finds words for it
                pass
        return self._predict(x, out)

    def _predict(self, x: ArrayLike, out: Array | None) -> Array:
        """The same with all checks, in blocks of rows that engines can read."""
        self._check_learned()
        x = _arrays.features(x, self.inputs)
        direct = _arrays.direct(x)
        if not direct:
            _arrays.check_finite("x", x, self.dtype)
        out = self._room(out, x)
        forward, blocks = self._engine.forward, self._blocks(x)
        finite = [forward(self.program, part, out[rows], self._threads()) for rows, part in blocks]
        if not all(finite):
            _arrays.check_finite("x", x, self.dtype)
        return self._in_units(out)

    def classify(self, x: ArrayLike) -> NDArray[np.int64]:
        """The winning class (B,) of each row; with one output, 1 where it is above one half.

        (Of scores and logits, of hinge and losses with logits: above 0.)

        Outputs are classes if the latest fit was on them: on labels, one-hot targets, or one output
        of 0 or 1. Without a fit they are after softmax or sigmoid, or if `classes` names them.
        Raises ValueError where outputs are no classes: numbers to be met, or several labels a row.
        """
        self._check_learned()
        check_classes(self)
        return winners(self.predict(x), self.loss.cut)

    def evaluate(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        metrics: Iterable[str | Measure] = (),
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
    ) -> dict[str, float]:
        """The mean loss, and how often the network is right, from 0 to 1, if y are no real numbers.

        That is the accuracy, the share of right rows, for labels, one-hot targets, or one output;
        the binary_accuracy, the share of right outputs, where a row may have several labels.

        metrics: more of them, by name: of classes accuracy, balanced_accuracy, top_5 (or another
        number), precision, recall, f1 (each the mean over classes; of one output that of class 1),
        roc_auc (one class against the rest) and log_loss; of numbers mae, rmse and r2. Or functions
        f(y_true, y_pred) of labels (B,) or targets (B, O), and of outputs (B, O).

        sample_weight, class_weight: as for `fit`; all figures but those of functions are means by
        them.
        """
        self._check_learned()
        wanted = metrics_of.get(metrics)
        rows = self._weighted(self._rows(self._data(x, y, sample_weight)), class_weight)[0]
        metrics_of.check(wanted, rows.meaning, self.loss)
        return training.evaluate(self._runner(), rows, wanted)

    def activations(self, x: ArrayLike) -> list[Array]:
        """[input, layer 1, ..., output], each (B, width); the input is the scaled one.

        Dropout is off: such a layer gives what it gets; batch norm goes by its running statistics.
        """
        self._check_learned()
        x = self._features(x)
        widths = self.program.ops[self.program.layers, WIDTH]
        outs = [np.empty((len(x), width), self.dtype) for width in widths]
        for rows, part in self._blocks(x):
            parts = [out[rows] for out in outs]
            self._engine.activations(self.program, part, parts, self._threads())
        self._in_units(outs[-1])
        return outs

    def rows(self, x: ArrayLike) -> Array:
        """x, checked as everywhere, as engines read it: (B, I) of uint8, float32 or float64."""
        self._check_learned()
        return _arrays.block(self._features(x), slice(None), self.dtype)

    def gradients(self, x: ArrayLike, y: ArrayLike) -> tuple[float, list[tuple[Array, ...]]]:
        """The mean loss at the current weights, and [(dW (I, O), db (O,)), ...] of it.

        A pair for each dense layer (dW alone where it has no biases), and what other layers have,
        in the order of `get_weights`. Dropout is off, and batch norm goes by its running
        statistics, of which there are no gradients: it is the loss that `evaluate` gives.
        """
        self._check_learned()
        (rows,) = self._rows(self._data(x, y))
        arena, loss, agreeing = training.gradients(self._runner(), rows)
        units = rows.scale**self.loss.power  # of the loss
        if units != 1.0:
            arena *= units
        figures = rows.figures(loss, agreeing, len(rows))
        return figures["loss"], pairs(self.program, arena, self._places)

    def summary(self, measure: bool = False) -> None:
        """Print the layers: shape, parameters and their bytes, multiply-adds of a row.

        measure: the microseconds that each takes of a prediction of one row and of 1,024, too, in a
        short measurement.
        """
        forward = self._measured if flag("measure", measure) else None
        print("\n".join(structure.summary(self.program, self.layers, forward)))
        total = sum(layer.size for layer in self.layers)
        print(f"{total:,} parameters, {self.dtype}, {self.loss.name}, engine {self._engine.NAME}")

    def _measured(self, program: Program, x: Array, out: Array) -> object:
        return self._engine.forward(program, x, out, self._threads())

    def diagnose(self, x: ArrayLike) -> structure.Diagnosis:
        """Which neurons do nothing over the rows x, or little: dead, saturated, constant ones.

        The result prints itself; `result.layers` has their numbers: see `structure.Neurons`.
        """
        return structure.diagnose(self.layers, self._values(x), self.dtype)

    def resize(self, layer: int, width: int, x: ArrayLike | None = None) -> Network:
        """A new network that computes the same with more neurons in a hidden layer, or fewer.

        layer: its place in `layers`, a `Dense` that one other reads. More: new neurons have initial
        weights (as the layer's initializer draws them) and outgoing weights of zero: the function
        is the same, and training can use them. Fewer: over the rows x, those go that add least to
        what the next layer computes once their means are in its biases, by the mean square; dead
        and constant neurons go without a loss. The optimizer begins anew.
        Raises ValueError for a layer that is not hidden, TypeError for another kind of layer.

        Source: Chen, Goodfellow, Shlens, Net2Net: accelerating learning via knowledge transfer
        (2016), for the function that is kept.
        """
        chosen = self._hidden(layer)
        where = structure.place(self.program, chosen)
        width, before = count("width", width, end=1 << 31), self.layers[chosen].units
        assert before is not None
        kept, mean = np.arange(before), np.zeros(before)
        if width < before:
            if x is None:
                raise ValueError(f"expected x to choose {width} of {before} neurons by, got none")
            (seen,) = structure.seen(self._values(x), [where.value])
            strength = structure.importance(self.program, where, seen)
            kept, mean = structure.strongest(strength, width), seen.mean
        found = self._with_width(chosen, width)
        structure.carry(self.program, found.program, where, kept, mean)
        return found

    def prune(self, x: ArrayLike, keep: float) -> Network:
        """A new network with the share `keep` of the hidden neurons, 0 to 1: the most important.

        Over the rows x, neurons are compared by what they add to the next layer, in units of their
        layer's mean, and at least one of each layer stays; then layer by layer as in `resize`. Some
        more training makes good what was lost. Layers that `resize` refuses stay as they are.
        Raises ValueError for a share outside (0, 1], or a network without such layers.
        """
        share = positive("keep", keep)
        if share > 1:
            raise ValueError(f"expected keep in (0, 1], got {keep}")
        places = structure.places(self.program, self.layers)
        if not places:
            raise ValueError(f"expected a hidden layer to prune, got {self}")
        seen = structure.seen(self._values(x), [where.value for where in places.values()])
        strengths = [
            structure.importance(self.program, where, neurons)
            for where, neurons in zip(places.values(), seen, strict=True)
        ]
        found = self
        for layer, width in zip(places, structure.share_out(strengths, share), strict=True):
            found = found.resize(layer, width, x)
        return found

    def folded(self) -> Network:
        """A new network that predicts the same without `BatchNorm` and `Scale`, where it can.

        They are put into the weights of the `Dense` behind them, so that a prediction costs
        nothing for them, and a file or a page is of plain layers. Those before other layers stay.
        The optimizer begins anew.
        """
        parts = structure.fold(self.layers)
        found = self.__copy__()
        old = found.program
        found._build([part.layer for part in parts])
        found._begin_anew(old)
        before, after = (views(p, p.parameters) for p in (old, found.program))
        for number, part in enumerate(parts):
            for name in [one for one in after if one.startswith(f"layers.{number}.")]:
                same = f"layers.{part.number}." + name.removeprefix(f"layers.{number}.")
                ours = {"weights": part.weights, "biases": part.biases}.get(name.split(".")[-1])
                after[name][...] = before[same] if ours is None else ours
        return found

    def _hidden(self, layer: int) -> int:
        """The number of a dense layer, counted from the end if it is negative."""
        number, most = whole("layer", layer), len(self.layers)
        if not -most <= number < most:
            raise ValueError(f"expected layer below {most}, got {shown(number)}")
        number %= most
        if not isinstance(self.layers[number], Dense):
            raise TypeError(f"expected layer to be that of a Dense, got {self.layers[number]}")
        return number

    def _with_width(self, number: int, width: int) -> Network:
        """The same network with initial weights, one dense layer of another width."""
        found, layers = self.__copy__(), list(self.layers)
        dense, before = layers[number], found.program
        assert isinstance(dense, Dense)
        layers[number] = dense.resized(width)
        found._build(layers)
        found._begin_anew(before)
        return found

    def _begin_anew(self, before: Program) -> None:
        """With a new program, and the scales of the inputs of the one before; no optimizer yet."""
        self.program.center, self.program.factor = before.center, before.factor
        self.trained = training.State(self.trained.epochs, meaning=self.trained.meaning)
        self.history = None

    def _values(self, x: ArrayLike) -> Iterator[list[Array]]:
        """The values of the input and the layers, [h_0, ..., h_L], of some rows at a time."""
        self._check_learned()
        widths = self.program.ops[self.program.layers, WIDTH]
        for _, part in self._blocks(self._features(x)):
            h = [np.empty((len(part), width), self.dtype) for width in widths]
            self._engine.activations(self.program, part, h, self._threads())
            yield h

    def save(self, path: str | os.PathLike[str], optimizer: bool = False) -> None:
        """Write the network to one file, whole or not at all; `fastnn.load` reads it.

        With optimizer=True its settings and its state are saved, too: save, load and fit then give
        the bits of one longer fit at a constant rate. Without, the orders of rows go on where they
        were and the optimizer begins anew. Beside a fit in another thread, weights and optimizer
        may be some steps apart; a callback finds them as one. A file that stands there keeps its
        mode, and after an error or a crash it still stands there.

        Raises ValueError if a number is not finite, names do not fit the network or `path` is a
        folder or device, TypeError for an optimizer that is not fastnn's or a path that is none,
        PermissionError if the file may not be written, OSError if writing fails.
        """
        from . import files

        files.save(self, path, optimizer)

    @property
    def engine(self) -> str:
        """The name of the engine that runs this network."""
        name: str = self._engine.NAME
        return name

    def copy(self) -> Network:
        """A network of its own with the same weights, optimizer's state and counts."""
        return self.__copy__()

    def get_weights(self) -> list[Array]:
        """Copies of all parameters, layer by layer: [W (I, O), b (O,), ...].

        Of batch norm [running_mean, running_variance, gamma, beta], each (I,).
        """
        return [block.copy() for block in self._blocks_of_parameters()]

    def set_weights(self, weights: Iterable[ArrayLike]) -> None:
        """Set all parameters, in the order and the shapes of `get_weights`.

        Raises ValueError for other shapes or numbers that are not finite in the network's dtype.
        """
        blocks, given = self._blocks_of_parameters(), listed("weights", weights)
        if len(given) != len(blocks):
            raise ValueError(f"expected {len(blocks)} arrays of weights, got {len(given)}")
        checked = [_arrays.real(f"weights[{i}]", one) for i, one in enumerate(given)]
        for i, (block, array) in enumerate(zip(blocks, checked, strict=True)):
            if array.shape != block.shape:
                raise ValueError(f"expected weights[{i}] of {block.shape}, got {array.shape}")
            _arrays.check_finite(f"weights[{i}]", array, self.dtype)
            if self.program.names[i].endswith(".running_variance") and array.min() < 0:
                raise ValueError(f"expected variances in weights[{i}], got {array.min()}")
        hold = training.Hold(self._holder)
        with hold:
            for block, array in zip(blocks, [array.copy() for array in checked], strict=True):
                block[...] = array

    def _blocks_of_parameters(self) -> list[Array]:
        return list(views(self.program, self.program.parameters).values())

    def _threads(self) -> int:
        return self._num_threads or engines.get_num_threads()

    def _learned(self) -> bool:
        """Whether the network knows the scales that it standardises by, if it does."""
        return not self.standardize or self.program.center is not None

    def _check_learned(self) -> None:
        if not self._learned():
            raise ValueError(
                "expected a network that was fitted: with standardize=True it learns the scales of "
                "its columns from the rows of the first fit"
            )

    def _learn_scales(self, x: _arrays.Part, y: _arrays.Part) -> None:
        """Take the scales of inputs, and of targets that are real numbers, from these rows."""
        inputs = _statistics.columns(x)
        real = self.loss.kind == "numbers" and y.arrays[0].ndim == 2
        if real and self.activation.name == "identity":
            targets = _statistics.columns(y)
            deviation = float(np.sqrt(np.mean(targets.deviation**2)))
            self.output_scale = deviation or 1.0
            self.output_center = targets.mean
        varies = inputs.deviation > 0
        self.program.factor = np.where(varies, 1 / np.where(varies, inputs.deviation, 1.0), 0.0)
        self.program.center = inputs.mean  # last: from here on the scales are known

    def _in_units(self, h: Array) -> Array:
        """Outputs (B, O) in the units of the targets, in place."""
        return self.loss.outputs_in_units(h, self.output_center, self.output_scale)

    def _features(self, x: ArrayLike, name: str = "x") -> Array:
        array = _arrays.features(x, self.inputs, name)
        if not (_arrays.direct(array) and self._quickly_finite(array)):
            _arrays.check_finite(name, array, self.dtype)
        return array

    def _quickly_finite(self, x: Array) -> bool:
        """Whether a look at all numbers finds them finite in our dtype."""
        if x.dtype == np.uint8:
            return True
        look, limit, threads = self._engine.within, self._largest, self._threads()
        blocks = _arrays.pieces(len(x), max(1, LOOKED // self.inputs))  # so that Ctrl-C is heard
        return all(look(x[rows], limit, threads) for rows in blocks)

    def _data(
        self, x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None, of: str = ""
    ) -> Data:
        """The checked x, y and weights; `of` goes before their names in errors."""
        array = self._features(x, f"{of}x")
        targets = _arrays.targets(y, len(array), self.outputs, self.loss, self.dtype, of)
        if weights is None:
            return array, targets, None
        self._check_weighs("sample_weight")
        return array, targets, _arrays.weights(weights, len(array), of)

    def _check_weighs(self, name: str) -> None:
        if self.loss.function is not None:
            raise ValueError(f"expected no {name} with the function {self.loss.name} as loss")

    def _weighted(self, parts: list[Rows], class_weight: ClassWeight | None) -> list[Rows]:
        """The rows with the weights of their classes. Raises ValueError if nothing counts."""
        if class_weight is not None:
            self._check_weighs("class_weight")
            parts = with_class_weights(parts, class_weight, self.outputs)
        if not any(rows.total() > 0 for rows in parts):
            raise ValueError("expected a positive weight of some row, got weights that are all 0")
        return parts

    def _rows(self, *pairs: Data, meaning: Meaning | None = None) -> list[Rows]:
        """Checked data as rows of one kind: what targets mean is decided by all of them."""
        meaning = meaning or meaning_of(self.loss, *(y for _, y, _ in pairs))
        known = self.loss, self.dtype, meaning, self.output_center, self.output_scale
        return [Rows(x, y, *known, weights) for x, y, weights in pairs]

    def _split_share(
        self, share: float, data: object, metrics: tuple[metrics_of.Metric, ...]
    ) -> float:
        """The validation_split. Raises ValueError where it does not fit what else is said."""
        share = fraction("validation_split", share)
        if share and data is not None:
            raise ValueError("expected validation_split or validation_data, got both")
        if metrics and not share and data is None:
            raise ValueError("expected validation_data or validation_split with metrics, got none")
        return share

    def _checked(self, x: Any, y: ArrayLike | None, weights: ArrayLike | None) -> list[Data]:
        """The checked data to learn from, of each shard where there are some."""
        if isinstance(x, Shards):
            if y is not None:
                raise ValueError("expected no y beside shards, which bring theirs")
            if weights is not None:
                raise ValueError("expected no sample_weight beside shards, got one")
            pairs = [self._data(*of_shard, of=f"{name}: ") for name, of_shard in x]
        else:
            assert y is not None
            pairs = [self._data(x, y, weights)]
        for one in pairs:
            self._check_fit(*one)
        return pairs

    def _check_fit(self, x: Array, y: Array, _: object) -> None:
        """Raise for checked x and y that cannot be learned from."""
        if len(x) > np.iinfo(np.int32).max:
            raise ValueError(f"expected at most 2^31 - 1 rows in x, got {len(x)}")
        weights = {"the network's weights": self.program.parameters}
        _arrays.check_apart("x", x, weights)
        _arrays.check_apart("y", y, weights)

    def _validation(self, data: tuple[ArrayLike, ...]) -> Data:
        return self._data(*triple(data), of="validation ")

    def _split(
        self,
        share: float,
        pairs: list[Data],
        rows: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32] | None] | None:
        """The rows to learn from and to validate on: of all or of some, where a share is split off.

        None: all are learned from.
        """
        if not share:
            return None if rows is None else (rows, None)
        if len(pairs) > 1:
            raise ValueError("expected validation_data with shards, got validation_split")
        _, y, _ = pairs[0]
        y = y if rows is None else y[rows]
        if len(y) < 2:
            raise ValueError("expected at least 2 rows in x with validation_split, got 1")
        learned, held_out = split(self.seed, share, len(y), strata(self, y))
        return (learned, held_out) if rows is None else (rows[learned], rows[held_out])

    def _rows_of_fit(
        self,
        pairs: list[Data],
        validation: Data | None,
        parts: tuple[NDArray[np.int32], NDArray[np.int32] | None] | None,
        class_weight: ClassWeight | None,
    ) -> tuple[list[Rows], Rows | None]:
        """The rows to learn from, and those of the validation; the first fit learns the scales."""
        chosen, held_out = parts or (None, None)
        if not self._learned():
            self._learn_scales(
                _arrays.Part(tuple(x for x, _, _ in pairs), chosen),
                _arrays.Part(tuple(y for _, y, _ in pairs), chosen),
            )
        rows = self._rows(*pairs, *([] if validation is None else [validation]))
        validated = None if validation is None else rows.pop()
        if held_out is not None:
            validated = replace(rows[0], chosen=held_out)
        learned = rows if chosen is None else [replace(rows[0], chosen=chosen)]
        weighted = self._weighted(learned, class_weight)
        return weighted, None if validated is None else self._weighted([validated], None)[0]

    def _run(
        self,
        data: Sequence[Rows] | training.Stream,
        validation: Rows | None,
        settings: training.Settings,
        place: training.Place | None = None,
        threads: Callable[[], int] | None = None,
    ) -> training.Run:
        """A fit that is about to begin; its history is the network's from here on."""
        if validation is not None:
            metrics_of.check(settings.metrics, validation.meaning, self.loss)
        runner = self._runner()
        if threads is not None:
            runner = replace(runner, threads=threads)
        kind = lbfgs.Fit if isinstance(settings.optimizer, lbfgs.LBFGS) else training.Run
        run = kind(runner, data, validation, self.trained, settings, place)
        self.history = run.history
        return run

    def _stream(
        self,
        batches: Any,
        validation_data: tuple[ArrayLike, ...] | None,
        share: float,
        resume: object,
        class_weight: ClassWeight | None,
    ) -> tuple[training.Stream, Rows | None]:
        """Batches from an iterable, each checked when it comes; the validation rows as ever."""
        if hasattr(batches, "dtype") or not isinstance(batches, Iterable):
            raise TypeError(f"expected y beside x, or an iterable of (x, y), got {shown(batches)}")
        balanced = class_weight if isinstance(class_weight, str) else None
        said = ("validation_split", share), ("resume", resume), ("class_weight", balanced)
        for name, value in said:
            if value:
                raise ValueError(f"expected no {name} with an iterable, got {shown(value)}")
        self._check_learned()
        meanings: list[Meaning] = []

        def rows(batch: object) -> Rows:
            x, y, weights = self._data(*triple(batch, "batches of the iterable"))
            several = y.ndim == 2 and self.loss.kind == "binary" and self.outputs > 1
            meanings.append("classes" if several else meaning_of(self.loss, y))
            found = self._rows((x, y, weights), meaning=meanings[0])
            if class_weight is not None:
                self._check_weighs("class_weight")
                found = with_class_weights(found, class_weight, self.outputs)
            return found[0]

        stream = training.Stream(batches, rows)
        if validation_data is None:
            return stream, None
        validated = self._rows(self._validation(validation_data), meaning=meanings[0])
        return stream, self._weighted(validated, None)[0]

    def _runner(self) -> training.Runner:
        engine = self._engine
        if self.loss.function is not None:
            from .judges import Judge  # which few fits need

            engine = Judge(engine, self.loss)
        return training.Runner(self.program, engine, self._threads, self._block, self._unit)

    def _blocks(self, x: Array) -> Iterator[tuple[slice, Array]]:
        for rows in _arrays.pieces(len(x), self._block):
            yield rows, _arrays.block(x, rows, self.dtype)

    def _room(self, out: Array | None, x: Array) -> Array:
        """Where the outputs of these rows go: `out`, if it fits, or a new array."""
        shape = (len(x), self.outputs)
        if out is None:
            return np.empty(shape, self.dtype)
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype:
            kind = getattr(out, "dtype", type(out).__name__)
            raise TypeError(f"expected out as an array of {self.dtype}, got {kind}")
        if out.shape != shape:
            raise ValueError(f"expected out of shape {shape}, got {out.shape}")
        if not out.flags.carray:
            found = f"strides {out.strides}, writeable {out.flags.writeable}"
            raise ValueError(f"expected out to be C-contiguous and writeable, got {found}")
        if _arrays.is_masked(out):
            raise TypeError("expected out as a plain array, got a masked one")
        _arrays.check_apart("out", out, {"x": x, "the network's weights": self.program.parameters})
        return out

    def __copy__(self) -> Network:
        """A network of its own: two could not share what a fit changes."""
        from copy import deepcopy

        return deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        # the engine is a module, and another machine may choose another
        return {**self.__dict__, "_engine": None, "_holder": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(
            state, _engine=engines.get(state["_engine_wanted"], state["dtype"].name)
        )
        self.num_threads = self._num_threads  # another machine may have other CPUs
        self.program.parameters = aligned_copy(self.program.parameters)
        self.program.state = aligned_copy(self.program.state)

    def _repr_html_(self) -> str:
        """The picture that a notebook shows, without matplotlib."""
        from . import drawing

        return drawing.svg(drawing.network_drawing(self))

    def __repr__(self) -> str:
        return f"Network({self.inputs}, {list(self.layers)}, loss={self.loss.name!r})"


def mlp(
    sizes: Sequence[int],
    hidden: str | Activation = "relu",
    output: str | Activation = "softmax",
    **options: Any,
) -> Network:
    """A network of these sizes, [inputs, hidden, ..., outputs]; the options are `Network`'s."""
    sizes = listed("sizes", sizes)
    if len(sizes) < 2:
        raise ValueError(f"expected at least two sizes, inputs and outputs, got {shown(sizes)}")
    inputs, *hidden_sizes, outputs = sizes
    layers = [Dense(size, hidden) for size in hidden_sizes]
    return Network(inputs, [*layers, Dense(outputs, output)], **options)


def load(
    path: str | os.PathLike[str],
    *,
    engine: str = "auto",
    num_threads: int | None = None,
    loss: Function | None = None,
) -> Network:
    """Read the network that `Network.save` wrote to the file `path`; nothing in it is executed.

    loss: the function that it was trained with, if it was one; without it the network predicts.

    Raises FormatError if the file is truncated, altered, of another kind or of a newer version,
    OSError if it cannot be read, TypeError if `path` is none.
    """
    from . import files

    model, tensors = files.read(path)
    if loss is not None:
        given = losses.of_function(loss)
        if model["loss"].function is None or model["loss"].name != given.name:
            raise ValueError(f"expected the loss {model['loss'].name}, got {given.name}")
        model["loss"] = given
    return network_of(model, tensors, engine, num_threads)


def network_of(
    model: dict[str, Any], tensors: dict[str, Array], engine: str, num_threads: int | None
) -> Network:
    """The network that a file holds."""
    network = Network(
        model["inputs"],
        [layer.blank() for layer in model["layers"]],
        input_scale=model["input_scale"],
        standardize=model["standardize"],
        loss=model["loss"],
        dtype=model["dtype"],
        seed=model["seed"],
        engine=engine,
        num_threads=num_threads,
    )
    network._take(model, tensors)
    for name in ("classes", "features", "target", "trained_on", "columns"):
        setattr(network, name, model[name])
    return network


def check_classes(network: Network) -> None:
    """Raise ValueError unless its outputs are classes, of which a row has one."""
    meaning = network.trained.meaning
    if meaning == "classes":
        raise ValueError(
            "expected one class a row, got a network that was fitted on several labels a row; "
            f"use predict(x) > {network.loss.cut}"
        )
    output = network.activation.name
    known = output in ("softmax", "sigmoid") or network.loss.kind != "numbers"
    if meaning == "numbers" or not (meaning or known or network.classes is not None):
        raise ValueError(
            f"expected outputs that are classes, got {output} outputs that are numbers to be "
            f"met; use predict(x)"
        )


def winners(h: Array, cut: float) -> NDArray[np.int64]:
    """The winning class (B,) of outputs (B, O); of one output, 1 where it is above the cut."""
    if h.shape[1] == 1:
        return (h[:, 0] > cut).astype(np.int64)
    found: NDArray[np.int64] = h.argmax(axis=1)
    return found


def strata(network: Network, y: Array) -> Array | None:
    """The class (B,) of each row, by which rows are drawn; None where they have none."""
    if meaning_of(network.loss, y) != "class":
        return None
    return y if y.ndim == 1 else y[:, 0] if network.outputs == 1 else _arrays.labels_of(y)


class Common:
    """An x and a y of several networks, checked once for all that ask the same of them."""

    def __init__(self, x: ArrayLike, y: ArrayLike, of: str = "") -> None:
        self.x, self.y, self.of = _arrays.real(f"{of}x", x), _arrays.real(f"{of}y", y), of
        self.checked: dict[object, Data] = {}

    def seen_by(self, network: Network) -> Data:
        """The checked x and y for this network; they stay where they are."""
        key = network.inputs, network.outputs, network.loss, network.dtype
        if key not in self.checked:
            self.checked[key] = network._data(self.x, self.y, of=self.of)
        return self.checked[key]


def runner_of(network: Network) -> training.Runner:
    """The network's program, and what runs it."""
    return network._runner()


def hold_of(network: Network) -> training.Hold:
    """The right to change the network, which one fit has at a time."""
    return training.Hold(network._holder)


def run_of(
    network: Network,
    data: Common,
    settings: training.Settings,
    *,
    rows: NDArray[np.int32] | None,
    validation: Common | None,
    share: float,
    threads: Callable[[], int],
) -> training.Run:
    """The fit of a network among others, about to begin; the caller has the right to change it.

    rows: those of the data to learn from; share: of them, to validate on; threads: as in `Runner`.
    """
    share = network._split_share(share, validation, settings.metrics)
    pairs = [data.seen_by(network)]
    network._check_fit(*pairs[0])
    given = None if validation is None else validation.seen_by(network)
    parts = network._split(share, pairs, rows)
    learned, validated = network._rows_of_fit(pairs, given, parts, None)
    training.check_batches(network.program, map(len, learned), settings.batch_size)
    return network._run(learned, validated, settings, threads=threads)


def triple(
    found: Any, name: str = "validation_data"
) -> tuple[ArrayLike, ArrayLike, ArrayLike | None]:
    """An x, a y and the weights of their rows, if there are some."""
    try:
        x, y, *weights = found
        (weight,) = weights or [None]
    except (TypeError, ValueError):
        raise ValueError(f"expected {name} as (x, y) or (x, y, sample_weight)") from None
    return x, y, weight


def is_shown(verbose: int) -> bool:
    """Whether progress is shown. Raises ValueError for anything but 0 and 1."""
    if verbose not in (0, 1):
        raise ValueError(f"expected verbose to be 0 or 1, got {shown(verbose)}")
    return verbose == 1


def settings_of(
    network: Network,
    *,
    epochs: int,
    batch_size: int,
    optimizer: str | Optimizer,
    shuffle: bool,
    callbacks: Iterable[Callback | PlainFunction],
    verbose: int,
    metrics: Iterable[str | Measure],
    augment: Augment | None = None,
) -> training.Settings:
    """How to train, checked."""
    return training.Settings(
        epochs=count("epochs", epochs),
        batch_size=count("batch_size", batch_size),
        optimizer=lbfgs.LBFGS() if optimizer == "lbfgs" else optimizers.get(optimizer),
        shuffle=flag("shuffle", shuffle),
        seed=network.seed,
        listener=Callbacks(callbacks, network),
        verbose=int(is_shown(verbose)),
        metrics=metrics_of.get(metrics),
        augment=augment,
    )


def listed(name: str, values: Iterable[Any]) -> list[Any]:
    """The values as a list. Raises TypeError for a single one."""
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"expected {name} as a list, got {shown(values)}") from None


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """float32 or float64. Raises ValueError for another dtype."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        raise unknown("dtype", name, DTYPES)
    return np.dtype(name)


def checked_seed(seed: int | None) -> int:
    """The seed, or one drawn from the system."""
    if seed is None:
        return int.from_bytes(os.urandom(8), "little")
    number = whole("seed", seed)
    if not 0 <= number < 1 << 64:
        raise ValueError(f"expected a seed from 0 to 2^64 - 1, got {shown(number)}")
    return number


def check_sizes(sizes: list[int], dtype: np.dtype[Any]) -> None:
    """Raise unless an engine can count the neurons, and a process address the weights."""
    for size in sizes[1:]:
        count("units", size, end=1 << 31)
    if weight_bytes(sizes, dtype) >= 1 << 47:
        raise MemoryError(too_large(sizes, dtype))


def weight_bytes(sizes: list[int], dtype: np.dtype[Any]) -> int:
    """The bytes of all weights and biases of layers of these sizes."""
    return dtype.itemsize * sum((i + 1) * o for i, o in pairwise(sizes))


def too_large(sizes: list[int], dtype: np.dtype[Any]) -> str:
    """The words for layers whose weights do not fit in memory."""
    shape = "-".join(map(str, sizes))
    found = f"{weight_bytes(sizes, dtype):,} bytes of {dtype} weights for {shape}"
    return f"expected layers that fit in memory, got {found}"
