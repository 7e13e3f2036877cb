"""How good generated images are, in figures: exact measures of features, classes and pixels."""

from .classes import (
    ClassBalance,
    InceptionScore,
    class_balance,
    collapsed,
    inception_score,
    label_accuracy,
)
from .frechet import fid, frechet_distance, mean_and_covariance
from .kernel import KID, kid, mmd2
from .neighbours import (
    DensityCoverage,
    Nearest,
    PrecisionRecall,
    density_coverage,
    duplicates,
    nearest,
    neighbour_radii,
    neighbourhoods,
    pairwise_distance,
    precision_recall,
)
from .report import Extractor, Measure, Quality, Reference, measure

__all__ = [
    "KID",
    "ClassBalance",
    "DensityCoverage",
    "Extractor",
    "InceptionScore",
    "Measure",
    "Nearest",
    "PrecisionRecall",
    "Quality",
    "Reference",
    "class_balance",
    "collapsed",
    "density_coverage",
    "duplicates",
    "fid",
    "frechet_distance",
    "inception_score",
    "kid",
    "label_accuracy",
    "mean_and_covariance",
    "measure",
    "mmd2",
    "nearest",
    "neighbour_radii",
    "neighbourhoods",
    "pairwise_distance",
    "precision_recall",
]
