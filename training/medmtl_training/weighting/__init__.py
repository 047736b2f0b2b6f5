"""How the tasks' losses become one: a name in the settings, a small class behind it."""

from collections.abc import Callable, Iterable

from medmtl_training.settings import TrainSettings
from medmtl_training.weighting.base import Weighting
from medmtl_training.weighting.constant import ConstantWeights
from medmtl_training.weighting.descent import DynamicAverage, FastAdaptive, GradientNorms
from medmtl_training.weighting.minmax import SmoothTchebycheff
from medmtl_training.weighting.uncertainty import ClosedFormUncertainty, KendallWeights, LiebelKornerWeights

__all__ = ["Weighting", "make_weighting"]


def make_weighting(settings: TrainSettings, tasks: Iterable[str]) -> Weighting:
    """The weighting that the settings name, for these tasks."""
    names, options = tuple(tasks), settings.weighting_options
    makers: dict[str, Callable[[], Weighting]] = {
        "equal": lambda: ConstantWeights(names, {}),
        "fixed": lambda: ConstantWeights(names, settings.fixed_weights),
        "kendall": lambda: KendallWeights(names, settings.log_variance_limits),
        "liebel-korner": lambda: LiebelKornerWeights(names, settings.log_variance_limits),
        "uw-so": lambda: ClosedFormUncertainty(names, options.uw_so_temperature),
        "dwa": lambda: DynamicAverage(names, options.dwa_temperature, options.window),
        "gradnorm": lambda: GradientNorms(names, options.gradnorm_alpha, options.gradnorm_rate),
        "stch": lambda: SmoothTchebycheff(names, options.stch_smoothness, options.window),
        "famo": lambda: FastAdaptive(names, options.famo_rate, options.famo_decay),
    }
    return makers[settings.weighting]()
