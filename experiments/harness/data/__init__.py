"""MNIST for the experiments: checked arrays in the official order, from whichever source has them."""

from experiments.harness.data.arrays import Mnist as Mnist
from experiments.harness.data.kept import load_kept as load_kept
from experiments.harness.data.loading import load_mnist as load_mnist
