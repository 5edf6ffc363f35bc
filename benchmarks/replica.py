"""How long a phase diagram takes: replica-symmetric solutions and phases of a grid of controls, Gaussian components.

The unit of work is a diagram. There is no other library to compare with.

- `batches of 32` solves so many points side by side, each batch until its last point has converged: the default;
- `batches of 256` wastes more on points that are done;
- `points` solves one after the other, in the same compiled program.
"""

import jax
import jax.numpy as jnp

from benchmarks._timing import Case, Workload
from rbm_jax.replica import phase_diagram

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]


def _builder(batch_size: int):
    def build(n_points):
        temperature, bias = jnp.linspace(0.02, 1.6, n_points), jnp.linspace(0.02, 2.0, n_points)

        def call():
            diagram = phase_diagram(1 / temperature, bias[:, None] / temperature, batch_size=batch_size)
            return jax.block_until_ready(diagram)

        converged = float(call().order_parameters.converged.mean())
        return Workload(call, 1, "diagram", extra={"converged": converged})

    return build


CONTENDERS = {"batches of 32": _builder(32), "batches of 256": _builder(256), "points": _builder(1)}


def _case(n_points: int) -> Case:
    return Case(f"{n_points}x{n_points} diagram", tuple(CONTENDERS), {"n_points": n_points})


CASES = (_case(200),)
TINY_CASES = (_case(4),)
