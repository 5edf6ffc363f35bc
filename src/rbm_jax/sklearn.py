"""An RBM as a scikit-learn estimator: in pipelines and grid searches."""

from collections.abc import Callable
from numbers import Real
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rbm_jax._internal.checks import check_count, check_positive, check_support
from rbm_jax._internal.optional import require
from rbm_jax._internal.typing import Array, Float, Shaped
from rbm_jax.likelihood.pseudo import pseudo_log_likelihood
from rbm_jax.model import RBM, Centered, Status, hidden_field, init_rbm
from rbm_jax.sampling import init_chains, sample_gibbs
from rbm_jax.training import PCD, Batches, Trainer, TrainState, fit
from rbm_jax.units import AbstractUnits, Bernoulli

__all__ = ["RBMTransformer"]

States = Shaped[np.ndarray, "n_samples n_features"]

_base = require("sklearn.base")
_metaestimators = require("sklearn.utils.metaestimators")
_validation = require("sklearn.utils.validation")

_CHUNK_ROWS = 1024
"""Samples in one call of a compiled function: enough to fill the cores, and little to pad a few samples to."""
_CHUNK_ELEMENTS = 2**22
"""Elements of the fields of flipped states that are held at once: 16 MB in single precision."""


def _has_discrete_visible_units(estimator: Any) -> bool:
    """For `available_if`: raises where there is no pseudo-likelihood."""
    units = estimator.rbm_.visible_units if hasattr(estimator, "rbm_") else estimator.visible_units
    if isinstance(units, AbstractUnits) and units.states is None:
        raise AttributeError(
            f"the pseudo-likelihood needs discrete visible units, got {units}; "
            "use rbm_jax.log_likelihood(estimator.rbm_, X, ...)"
        )
    return True


class RBMTransformer(_base.ClassNamePrefixFeaturesOutMixin, _base.TransformerMixin, _base.BaseEstimator):
    """A Restricted Boltzmann Machine trained by PCD with centered gradients, whose features are its hidden means.

    Trained by `rbm_jax.fit` with plain SGD; an RBM that was trained in another way becomes a step of a pipeline by
    `from_rbm`. Beside scikit-learn's own `BernoulliRBM` it has other units, biases that start at the data's means,
    centered gradients, several Gibbs sweeps per update and a deterministic score. `rbm_jax.io.interop` maps RBMs to
    `BernoulliRBM` and back.

    Visible units of two states take a feature as its upper state if it is at least `threshold`: an RBM is a probability
    distribution over such states, not over intensities between them, which `BernoulliRBM` lets through as if they were
    states. Continuous visible units take features as they are; standardize these first.

    Sparse matrices are accepted, and made dense. Results are in the dtype of `rbm_`: double precision needs
    jax_enable_x64 before `fit`, and data in double precision.

    Args:
        n_components: number of hidden units.
        visible_units: unit type of the features; None for `Bernoulli()`.
        hidden_units: unit type of the hidden layer; None for `Bernoulli()`.
        threshold: where a feature's upper state begins. None: features must be states already (0 or 1 for `Bernoulli`,
            -1 or +1 for `Spin`), and others are refused.
        n_updates: updates that `fit` makes, each on one minibatch.
        learning_rate: of plain SGD.
        batch_size: samples of a minibatch, or all of them if there are fewer.
        n_chains: persistent Markov chains.
        n_sweeps: Gibbs sweeps of the chains per update.
        random_state: an int, a `numpy.random.RandomState`, or None for NumPy's global one.

    Attributes:
        rbm_: the trained `RBM`.
        components_: its weights, shape (n_components, n_features).
        intercept_visible_: its visible bias, shape (n_features,).
        intercept_hidden_: its hidden bias, shape (n_components,).
        n_features_in_: number of features.
        feature_names_in_: names of features, if the data had some.

    Example:
        >>> from rbm_jax.data import bars_and_stripes
        >>> from rbm_jax.sklearn import RBMTransformer
        >>> data = bars_and_stripes(4)
        >>> transformer = RBMTransformer(n_components=8, n_updates=200, random_state=0).fit(data)
        >>> transformer.transform(data).shape
        (30, 8)
    """

    def __init__(
        self,
        n_components=64,
        *,
        visible_units=None,
        hidden_units=None,
        threshold=0.5,
        n_updates=1000,
        learning_rate=0.1,
        batch_size=100,
        n_chains=100,
        n_sweeps=1,
        random_state=None,
    ):
        self.n_components = n_components
        self.visible_units = visible_units
        self.hidden_units = hidden_units
        self.threshold = threshold
        self.n_updates = n_updates
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_chains = n_chains
        self.n_sweeps = n_sweeps
        self.random_state = random_state

    @classmethod
    def from_rbm(cls, rbm: RBM, **params: Any) -> Self:
        """A fitted transformer of an RBM that was trained elsewhere; `partial_fit` goes on with its training.

        Args:
            rbm: any pair of unit types.
            params: arguments of the constructor beside n_components and the unit types, which are the RBM's.

        Raises:
            ValueError: a stack of RBMs.
        """
        if rbm.weights.ndim != 2:
            raise ValueError(f"rbm must be one RBM, got a stack with weights of shape {rbm.weights.shape}")
        units = {"visible_units": rbm.visible_units, "hidden_units": rbm.hidden_units}
        transformer = cls(rbm.n_hidden, **units, **params)
        transformer.rbm_, transformer.n_features_in_ = rbm, rbm.n_visible
        return transformer

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a new RBM on X for `n_updates` updates; y is not used.

        Args:
            X: array-like or sparse, shape (n_samples, n_features).
            y: ignored.

        Raises:
            FloatingPointError: training diverged.
            TypeError, ValueError: data or parameters that do not fit, named in the message.
        """
        del y
        X = self._validated(X, reset=True)
        states = self._as_states(X, self._units()[0])
        n_updates = check_count("n_updates", self.n_updates, minimum=0)
        batch_size = check_count("batch_size", self.batch_size)
        batches = Batches(states, batch_size if batch_size < len(states) else None)
        return self._advance(self._start(states, X.dtype), batches, n_updates)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One update with X as its minibatch, of a new RBM or of the one that is there; y is not used.

        Args:
            X: array-like or sparse, shape (n_samples, n_features). Another number of samples compiles anew.
            y: ignored.

        Raises:
            FloatingPointError: training diverged.
            TypeError, ValueError: data or parameters that do not fit, named in the message.
        """
        del y
        rbm = getattr(self, "rbm_", None)
        X = self._validated(X, reset=rbm is None)
        states = self._as_states(X, self._units()[0] if rbm is None else rbm.visible_units)
        run = self._run if hasattr(self, "_run") else self._start(states, X.dtype, rbm)
        return self._advance(run, Batches(states), 1)

    def transform(self, X: Any) -> Shaped[np.ndarray, "n_samples n_components"]:
        """Means of the hidden units given the samples; probabilities, for `Bernoulli`.

        Args:
            X: array-like or sparse, shape (n_samples, n_features).

        Raises:
            sklearn.exceptions.NotFittedError: there is no RBM yet.
            ValueError: data that do not fit.
        """
        return _in_chunks(_hidden_mean, *self._rbm_and_states(X))

    @_metaestimators.available_if(_has_discrete_visible_units)
    def score_samples(self, X: Any) -> Shaped[np.ndarray, " n_samples"]:
        """Log pseudo-likelihood of each sample, Σ_i log P(v_i | all other visible units), in nats.

        All features are summed, where `BernoulliRBM` draws one at random and multiplies by their number. For the
        likelihood itself see `rbm_jax.exact_log_likelihood` and `rbm_jax.log_likelihood`. For discrete visible units
        only.

        Args:
            X: array-like or sparse, shape (n_samples, n_features).

        Raises:
            sklearn.exceptions.NotFittedError: there is no RBM yet.
            ValueError: data that do not fit.
        """
        return _in_chunks(_pseudo_log_likelihoods, *self._rbm_and_states(X))

    @_metaestimators.available_if(_has_discrete_visible_units)
    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`, which a grid search maximizes; y is not used."""
        del y
        return float(self.score_samples(X).mean(dtype=np.float64))

    def sample(self, n_samples: int = 1, *, n_sweeps: int = 1000, random_state: Any = None) -> States:
        """Visible states of independent Markov chains, after n_sweeps Gibbs sweeps from the visible biases' states.

        Args:
            n_samples: number of chains.
            n_sweeps: Gibbs sweeps of each.
            random_state: an int, a `numpy.random.RandomState`, or None for NumPy's global one.

        Raises:
            sklearn.exceptions.NotFittedError: there is no RBM yet.
            ValueError: counts below 1.
        """
        _validation.check_is_fitted(self)
        start, run = jax.random.split(jax.random.key(_seed(random_state)))
        chains = init_chains(start, self.rbm_, check_count("n_samples", n_samples))
        return np.asarray(sample_gibbs(run, self.rbm_, chains, n_sweeps=check_count("n_sweeps", n_sweeps)))

    @property
    def components_(self) -> Float[np.ndarray, "n_components n_features"]:
        """Weights, one hidden unit a row."""
        return np.array(self.rbm_.weights.T)

    @property
    def intercept_visible_(self) -> Float[np.ndarray, " n_features"]:
        """Visible bias."""
        return np.array(self.rbm_.visible_bias)

    @property
    def intercept_hidden_(self) -> Float[np.ndarray, " n_components"]:
        """Hidden bias."""
        return np.array(self.rbm_.hidden_bias)

    @property
    def _n_features_out(self) -> int:
        return self.rbm_.n_hidden

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        wide = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
        tags.transformer_tags.preserves_dtype = ["float64", "float32"] if wide else ["float32"]
        return tags

    def _units(self) -> tuple[AbstractUnits, AbstractUnits]:
        visible, hidden = (Bernoulli() if units is None else units for units in (self.visible_units, self.hidden_units))
        for name, units in {"visible_units": visible, "hidden_units": hidden}.items():
            if not isinstance(units, AbstractUnits):
                raise TypeError(f"{name} must be a unit type such as Bernoulli() or Gaussian(), got {units!r}")
        return visible, hidden

    def _rbm_and_states(self, X: Any) -> tuple[RBM, States]:
        _validation.check_is_fitted(self)
        return self.rbm_, self._as_states(self._validated(X), self.rbm_.visible_units)

    def _validated(self, X: Any, *, reset: bool = False) -> States:
        """The data after scikit-learn's checks, dense."""
        X = _validation.validate_data(self, X, accept_sparse="csr", reset=reset)
        return X if isinstance(X, np.ndarray) else X.toarray()

    def _as_states(self, X: States, units: AbstractUnits) -> States:
        """The data as states of the visible units; small integers where these are discrete."""
        states = X
        if units.states is not None and self.threshold is not None:
            if not isinstance(self.threshold, Real):
                raise TypeError(f"threshold must be a number or None, got {self.threshold!r}")
            low, high = np.asarray([units.states.min(), units.states.max()], np.int8)
            states = np.where(float(self.threshold) <= X, high, low)
        check_support("X", states, units)
        return states if units.states is None else states.astype(np.int8, copy=False)

    def _trainer(self) -> Trainer:
        rate = check_positive("learning_rate", self.learning_rate)
        return Trainer.euler(PCD(n_sweeps=self.n_sweeps, metric=Centered()), rate)

    def _start(self, states: States, dtype: np.dtype, rbm: RBM | None = None) -> tuple[int, TrainState]:
        """Seed and state of a run, from a given RBM or from a new one of the data's dtype and with their means."""
        trainer, n_chains = self._trainer(), check_count("n_chains", self.n_chains)
        seed = _seed(self.random_state)
        if rbm is not None:
            return seed, _start_from(jax.random.key(seed), trainer, rbm, n_chains)
        dtype = jax.dtypes.canonicalize_dtype(dtype if dtype in (np.float32, np.float64) else float)
        mean = jnp.asarray(states.mean(0, dtype=np.float64), dtype)
        sizes = check_count("n_components", self.n_components), n_chains
        return seed, _start_at_mean(jax.random.key(seed), trainer, mean, self._units(), sizes)

    def _advance(self, run: tuple[int, TrainState], batches: Batches, n_updates: int) -> Self:
        """Train, and keep the result if it is finite; otherwise this estimator stays as it was."""
        seed, state = run
        options = {"n_updates": n_updates, "save_at": [n_updates]}
        state, trajectory = fit(jax.random.key(seed), self._trainer(), state, batches, **options)
        if trajectory.status != Status.SUCCESS:
            raise FloatingPointError(
                f"training diverged with learning_rate={self.learning_rate}: lower it, and standardize the data of "
                "continuous visible units"
            )
        self._run, self.rbm_ = (seed, state), state.rbm
        return self


def _seed(random_state: Any) -> int:
    return int(require("sklearn.utils").check_random_state(random_state).randint(2**31 - 1))


# Compiled, since each is many small operations. Weights, chains and updates have key streams of their own.
@eqx.filter_jit
def _start_from(key: Array, trainer: Trainer, rbm: RBM, n_chains: int) -> TrainState:
    return trainer.init(key, rbm, n_chains)


@eqx.filter_jit
def _start_at_mean(
    key: Array,
    trainer: Trainer,
    mean: Array,
    units: tuple[AbstractUnits, AbstractUnits],
    sizes: tuple[int, int],
) -> TrainState:
    n_hidden, n_chains = sizes
    layers: dict[str, Any] = {"visible_units": units[0], "hidden_units": units[1]}
    rbm = init_rbm(key, len(mean), n_hidden, visible_mean=mean, dtype=mean.dtype, **layers)
    return trainer.init(key, rbm, n_chains)


def _in_chunks(function: Callable, rbm: RBM, states: States) -> Shaped[np.ndarray, "n_samples ..."]:
    """`function(rbm, rows)`, in chunks of one shape: any number of rows compiles one program, and gives a row the same.

    Products of other shapes are summed in another order.
    """
    results = []
    for start in range(0, len(states), _CHUNK_ROWS):
        rows = states[start : start + _CHUNK_ROWS]
        padded = np.zeros((_CHUNK_ROWS, rows.shape[1]), rbm.dtype)
        padded[: len(rows)] = rows
        results.append(np.asarray(function(rbm, padded))[: len(rows)])
    return np.concatenate(results)


@jax.jit
def _hidden_mean(rbm: RBM, v: Array) -> Array:
    return rbm.hidden_units.mean(hidden_field(rbm, v))


@jax.jit
def _pseudo_log_likelihoods(rbm: RBM, v: Array) -> Array:
    batch_size = max(1, min(len(v), _CHUNK_ELEMENTS // rbm.weights.size))
    return lax.map(lambda row: pseudo_log_likelihood(rbm, row[None]), v, batch_size=batch_size)
