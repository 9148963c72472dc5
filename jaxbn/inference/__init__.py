"""From training to inference: what is wrong with the running statistics, better ones, a model without its norms."""

# A model without its norms.
from jaxbn.inference._folding.by_hand import fold_conv as fold_conv
from jaxbn.inference._folding.by_hand import fold_dense as fold_dense
from jaxbn.inference._folding.by_hand import to_affine as to_affine
from jaxbn.inference._folding.report import FoldedNorm as FoldedNorm
from jaxbn.inference._folding.report import FoldReport as FoldReport

# What is wrong with the running statistics.
from jaxbn.inference.diagnose import DIAGNOSES as DIAGNOSES
from jaxbn.inference.diagnose import DiagnosedNorm as DiagnosedNorm
from jaxbn.inference.diagnose import DiagnosisReport as DiagnosisReport
from jaxbn.inference.diagnose import Finding as Finding
from jaxbn.inference.diagnose import diagnose as diagnose
from jaxbn.inference.fold import fold as fold

# Population statistics.
from jaxbn.inference.recalibrate import Moved as Moved
from jaxbn.inference.recalibrate import Report as Report
from jaxbn.inference.recalibrate import recalibrate as recalibrate
