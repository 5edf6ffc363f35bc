"""What training needs beside its data."""

import subprocess
import sys

import pytest

PEAK = """
import re, jax, numpy as np
from rbm_jax import PCD, Batches, Trainer, fit, init_rbm

def megabytes(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

data = jax.device_put(np.resize(np.array([1, 0, 0], np.uint8), (200_000, 784)))
trainer = Trainer.euler(PCD(), 0.1)
state = trainer.init(jax.random.key(1), init_rbm(jax.random.key(0), 784, 20), n_chains=50)
fit(jax.random.key(2), trainer, state, Batches(data[:100], 50), n_updates=1)  # what compiling takes
open("/proc/self/clear_refs", "w").write("5")  # resets the peak
before = megabytes("VmHWM")
jax.block_until_ready(fit(jax.random.key(2), trainer, state, Batches(data, 50), n_updates=1))
print(megabytes("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_training_needs_no_copy_of_its_data_and_no_temporaries_of_their_size():
    """150 MB of data: three boolean temporaries were 450 MB. What is left is the compiler's."""
    result = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 100
