"""Files that survive, and figures that show what they are given."""

import h5py
import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import pytest

from rbm_jax import Gaussian, Spin, Trajectory, init_rbm
from rbm_jax.io import atomic_write, load_rbm, load_trajectories, save_rbm, save_trajectories
from rbm_jax.plotting import (
    PhaseLine,
    plot_comparison,
    plot_convergence,
    plot_fixed_points,
    plot_growth_rates,
    plot_images,
    plot_linear_theory,
    plot_modes,
    plot_phase_diagram,
    plot_quantity,
    plot_spectrum,
    plot_spectrum_histogram,
    plot_theory,
    plot_tree,
)
from rbm_jax.replica import Phase
from rbm_jax.spectral import Bulk
from tests.helpers import assert_same


def some_rbm(seed=0):
    return init_rbm(jax.random.key(seed), 5, 3, visible_units=Spin(), hidden_units=Gaussian(0.3))


def some_trajectory(observations=None):
    rbms = jax.tree.map(lambda a, b: jnp.stack([a, b]), some_rbm(0), some_rbm(1))
    return Trajectory(jnp.array([0.0, 1.0]), rbms, jnp.array(0, jnp.int32), observations)


def test_rbm_and_chains_come_back_as_they_went(tmp_path, dtype):
    rbm = some_rbm()
    save_rbm(tmp_path / "rbm.h5", rbm)
    assert_same(load_rbm(tmp_path / "rbm.h5"), (rbm, None))
    save_rbm(tmp_path / "rbm.h5", rbm, chains=jnp.ones((4, 5)))
    assert_same(load_rbm(tmp_path / "rbm.h5"), (rbm, jnp.ones((4, 5))))


@pytest.mark.parametrize("observations", [None, jnp.arange(2.0), {"gap": jnp.arange(2.0), "ll": jnp.ones((2, 3))}])
def test_trajectories_come_back_as_they_went(tmp_path, observations):
    trajectories = {"one": some_trajectory(observations), "two": some_trajectory()}
    save_trajectories(tmp_path / "path.h5", trajectories)
    assert_same(load_trajectories(tmp_path / "path.h5"), trajectories)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "rbm.h5"
    save_rbm(path, some_rbm())
    before = path.read_bytes()

    def interrupted_write():
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_write()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_and_foreign_files_are_refused(tmp_path):
    save_rbm(tmp_path / "good.h5", some_rbm())
    good = (tmp_path / "good.h5").read_bytes()
    for name, content in {"cut.h5": good[: len(good) // 2], "empty.h5": b"", "text.h5": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            load_rbm(tmp_path / name)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(ValueError, match="not one that rbm_jax wrote"):
        load_rbm(tmp_path / "foreign.h5")
    with h5py.File(tmp_path / "good.h5", "a") as file:
        del file["rbm/weights"]
    with pytest.raises(ValueError, match=r"good\.h5"):
        load_rbm(tmp_path / "good.h5")
    save_trajectories(tmp_path / "path.h5", {"one": some_trajectory()})
    with pytest.raises(ValueError, match="no RBM"):
        load_rbm(tmp_path / "path.h5")
    with pytest.raises(FileNotFoundError, match=r"missing\.h5"):
        load_trajectories(tmp_path / "missing.h5")
    with pytest.raises(OSError, match="nowhere"):
        save_rbm(tmp_path / "nowhere" / "rbm.h5", some_rbm())


def lines_of(ax):
    return [line for line in ax.lines if len(line.get_xdata())]


def test_spectrum_draws_every_singular_value_as_a_point():
    ts, values = np.arange(4), np.arange(1, 21).reshape(4, 5)
    ax = plot_spectrum(ts, values, n_modes=2)
    assert plot_spectrum(ts, values, edge=3.5).lines[-1].get_ydata()[0] == 3.5
    drawn = np.concatenate([line.get_ydata() for line in lines_of(ax)])
    np.testing.assert_array_equal(np.sort(drawn), np.arange(1, 21))
    assert all(line.get_linestyle() == "None" for line in lines_of(ax))
    assert ax.get_yscale() == "log"


def test_comparison_draws_training_as_points_and_theory_as_lines():
    ts, values = np.arange(4.0), np.exp(np.outer(np.arange(4), [1.0, 0.5]))
    ax = plot_comparison(ts, values, {"theory": (ts, values)}, n_modes=2, identified=values < 10)
    styles = [line.get_linestyle() for line in lines_of(ax)]
    assert styles.count("None") == 4
    assert styles.count("-") == 2
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["PCD", "PCD, other direction", "theory"]
    assert "time" in ax.get_xlabel()


def test_quantity_has_its_label_and_names():
    ax = plot_quantity({"PCD": ([0, 1], [1, 2])}, {"ODE": ([0, 1], [1, 2])}, label="nats")
    assert ax.get_ylabel() == "nats"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["PCD", "ODE"]


def test_images_are_laid_out_in_rows():
    images = np.arange(12).reshape(3, 4)
    ax = matplotlib.figure.Figure().add_subplot()
    assert plot_images(images, (2, 2), n_columns=2, ax=ax) is ax
    canvas = ax.images[0].get_array()
    assert canvas.shape == (5, 5)
    np.testing.assert_array_equal(canvas[:2, 3:], [[4, 5], [6, 7]])
    np.testing.assert_array_equal(canvas[3:, :2], [[8, 9], [10, 11]])
    with pytest.raises(ValueError, match="2×3"):
        plot_images(images, (2, 3))


def test_fixed_points_are_circles_with_the_area_of_their_basins():
    data, points = np.zeros((5, 2)), np.array([[1.0, 2.0], [3.0, 4.0]])
    ax = plot_fixed_points(data, points, np.array([3, 1]))
    (circles,) = ax.collections
    np.testing.assert_array_equal(circles.get_offsets(), points)
    np.testing.assert_allclose(circles.get_sizes(), [10 + 150, 10 + 50])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["data", "fixed points (area: basin)"]


def test_tree_splits_where_labels_do_and_never_crosses():
    labels = np.array([[0, 0, 0, 0, 0, -1], [1, 0, 1, 0, 0, 0], [2, 0, 2, 1, 0, 1]])
    ax = plot_tree([1.0, 2.0, 3.0], labels)
    # leaves in the order of their ancestors: 0 and 1 of the cluster 0, then 2; the last sample is not in the tree
    heights = np.array([line.get_ydata() for line in ax.lines])
    np.testing.assert_allclose(heights, [[1, 0.5, 0], [1, 0.5, 1], [1, 2, 2]])
    root, *_, leaves = ax.collections
    np.testing.assert_allclose(root.get_sizes(), 84)
    np.testing.assert_allclose(leaves.get_sizes(), [4 + 80 * size / 5 for size in (2, 1, 2)])


def test_tree_of_nothing_is_empty():
    assert not plot_tree([1.0, 2.0], np.full((2, 3), -1)).lines


def test_modes_are_points_and_references_lines():
    ax = plot_modes([0, 1], np.arange(6).reshape(2, 3), label="kurtosis", references={"Gaussian": 3.0})
    *points, line = lines_of(ax)
    assert [list(each.get_ydata()) for each in points] == [[0, 3], [1, 4], [2, 5]]
    assert line.get_linestyle() == "-"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["mode 1", "mode 2", "mode 3", "Gaussian"]


@pytest.mark.parametrize("farthest", [1.2, 50.0])
def test_histogram_counts_every_mode_and_the_theory_has_their_area(farthest):
    rng = np.random.default_rng(0)
    noise = np.linalg.svd(0.4 * rng.normal(size=(80, 80)) / 80**0.5, compute_uv=False)
    values = np.append(farthest, noise)
    bulk = Bulk(*(jnp.asarray(field) for field in (values, values > 1, 1.0, 0.4, 1.0, 0.4)))
    ax = plot_spectrum_histogram(bulk)
    (theory, outliers) = lines_of(ax)
    assert sum(bar.get_height() for bar in ax.patches) == 81
    np.testing.assert_allclose(outliers.get_xdata(), [farthest], rtol=1e-6)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "singular values",
        "Marchenko-Pastur density",
        "1 outliers",
    ]
    assert ax.get_xscale() == ("log" if farthest > 10 else "linear")
    # counts per bin: the theory's sum over bins is the number of modes in the bulk
    width = ax.patches[3].get_width() / (ax.patches[3].get_x() if farthest > 10 else 1)
    x = np.log(theory.get_xdata()) if farthest > 10 else theory.get_xdata()
    factor = np.log1p(width) if farthest > 10 else width
    np.testing.assert_allclose(np.trapezoid(theory.get_ydata(), x) / factor, 80, rtol=0.03)


def test_growth_rates_lie_on_the_diagonal_if_the_theory_holds():
    ax = plot_growth_rates([1.0, -0.5], [0.9, -0.4])
    diagonal, points = lines_of(ax)[-2:]
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_array_equal(points.get_xydata(), [[1, 0.9], [-0.5, -0.4]])


def test_linear_theory_has_bars_of_the_spread_of_runs():
    ts, runs = np.arange(3.0), np.stack([np.ones((3, 2)), 3 * np.ones((3, 2))])
    ax = plot_linear_theory(ts, runs, (ts, np.ones((3, 2))), [1.0, 2.0], names=["c = 4", "c = 2"])
    (_, _, (bars,)) = ax.containers[0]
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [2 - 2**0.5, 2 + 2**0.5])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["c = 4", "c = 2"]


def test_convergence_draws_a_power_law_through_its_points():
    steps = np.array([0.1, 0.01])
    ax = plot_convergence(steps, {"Euler": (3 * steps, 1.0)}, label="error")
    points, line = lines_of(ax)
    np.testing.assert_allclose(line.get_ydata(), points.get_ydata())
    assert ax.get_legend().get_texts()[0].get_text() == "Euler: slope 1.00"


def test_phase_diagram_names_its_phases_and_lines():
    temperature, bias = np.linspace(0.1, 2, 20), np.linspace(0.1, 3, 30)
    phase = np.where(
        bias[:, None] > 1, Phase.FERROMAGNET, np.where(temperature > 1, Phase.PARAMAGNET, Phase.SPIN_GLASS)
    )
    lines = {"condensation": PhaseLine(temperature, np.ones(20)), "freezing": PhaseLine([1.0, 1.0], [0.0, 1.0], "--")}
    points = np.array([[0.5, 0.5, 0.2], [1.5, 2.0, 0.9]])
    ax = plot_phase_diagram(temperature, bias, phase, lines=lines, points=points, points_label="q")
    assert sorted(text.get_text() for text in ax.texts) == ["ferromagnet", "paramagnet", "spin glass"]
    for text in ax.texts:
        x, y = text.get_position()
        inside = phase[abs(bias - y).argmin(), abs(temperature - x).argmin()]
        assert Phase(inside).name.replace("_", " ").lower() == text.get_text()
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
    np.testing.assert_array_equal(ax.collections[-1].get_array(), [0.2, 0.9])
    assert ax.figure.axes[1].get_ylabel() == "q"
    assert ax.get_xscale() == "linear"


def test_a_phase_that_points_cover_has_no_name():
    axis = np.array([0.5, 1.5])
    points = np.array([[x, y, 0.5] for x in axis for y in axis])
    ax = plot_phase_diagram(axis, axis, np.full((2, 2), Phase.FERROMAGNET), points=points, points_label="q")
    assert not ax.texts


def test_phase_diagram_draws_a_path_with_its_unseen_start_open():
    temperature, bias = np.geomspace(0.1, 10, 20), np.geomspace(0.3, 30, 20)
    path = np.array([[5.0, np.nan], [4.0, 1.5], [2.0, 9.0]])
    ax = plot_phase_diagram(temperature, bias, np.zeros((20, 20), int), path=path)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    whole, seen, unseen = ax.lines
    np.testing.assert_array_equal(whole.get_xydata(), [[5, 1], [4, 1.5], [2, 9]])
    np.testing.assert_array_equal(seen.get_xydata(), path[1:])
    np.testing.assert_array_equal(unseen.get_xydata(), [[5, 1]])
    assert unseen.get_fillstyle() == "none"
    assert {"start", "end"} < {text.get_text() for text in ax.texts}


def test_theory_is_drawn_as_a_line_and_measurement_as_points_of_its_color():
    x = np.arange(3.0)
    ax = plot_theory({"m": (x, x)}, {"m": (x, x, 0.1 * x), "q": (x, 2 * x)}, x_label="time", label="order")
    theory, measured, other = (line for line in ax.lines if len(line.get_xdata()) == 3 and line.get_marker() != "_")
    assert (theory.get_linestyle(), measured.get_linestyle()) == ("-", "None")
    assert tuple(theory.get_color()) == tuple(measured.get_color()) != tuple(other.get_color())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["m", "q"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time", "order")
