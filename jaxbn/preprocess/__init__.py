"""Data preprocessing: transforms that are fitted to data, in one go or batch by batch, and applied to any.

A fitted transform is a pytree of arrays: it can be saved, mapped, compiled and differentiated through.
"""

# Every feature for itself.
from jaxbn.preprocess.scale import Scaling as Scaling
from jaxbn.preprocess.scale import fit_center as fit_center
from jaxbn.preprocess.scale import fit_min_max as fit_min_max
from jaxbn.preprocess.scale import fit_standardize as fit_standardize

# What to do with them.
from jaxbn.preprocess.transform import inverse_transform as inverse_transform
from jaxbn.preprocess.transform import transform as transform

# All features together.
from jaxbn.preprocess.whiten import Projection as Projection
from jaxbn.preprocess.whiten import fit_pca as fit_pca
from jaxbn.preprocess.whiten import fit_whiten as fit_whiten
