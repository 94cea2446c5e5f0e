"""Where the public names are defined; `fastnn` fetches them here when the first one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import DivergenceError as DivergenceError
from ._errors import FormatError as FormatError
from .activations import ELU as ELU
from .activations import LeakyReLU as LeakyReLU
from .augmentation import Augment as Augment
from .callbacks import Callback as Callback
from .callbacks import Checkpoint as Checkpoint
from .callbacks import CSVLogger as CSVLogger
from .callbacks import EarlyStopping as EarlyStopping
from .callbacks import ReduceLROnPlateau as ReduceLROnPlateau
from .callbacks import TerminateOnNaN as TerminateOnNaN
from .columns import Columns as Columns
from .columns import Embedding as Embedding
from .columns import OneHot as OneHot
from .columns import RobustScale as RobustScale
from .columns import Standardize as Standardize
from .engine import get_num_threads as get_num_threads
from .engine import set_num_threads as set_num_threads
from .engine import show_config as show_config
from .layers import AlphaDropout as AlphaDropout
from .layers import BatchNorm as BatchNorm
from .layers import Blend as Blend
from .layers import Dense as Dense
from .layers import Dropout as Dropout
from .layers import Embed as Embed
from .layers import LayerNorm as LayerNorm
from .layers import PReLU as PReLU
from .layers import Residual as Residual
from .layers import Scale as Scale
from .lbfgs import LBFGS as LBFGS
from .network import Network as Network
from .network import load as load
from .network import mlp as mlp
from .optimizers import SGD as SGD
from .optimizers import Adadelta as Adadelta
from .optimizers import Adagrad as Adagrad
from .optimizers import Adam as Adam
from .optimizers import Adamax as Adamax
from .optimizers import AdamW as AdamW
from .optimizers import AMSGrad as AMSGrad
from .optimizers import Group as Group
from .optimizers import Lion as Lion
from .optimizers import Nadam as Nadam
from .optimizers import RMSprop as RMSprop
from .optimizers import ScheduleFreeAdamW as ScheduleFreeAdamW
from .schedules import Constant as Constant
from .schedules import Cosine as Cosine
from .schedules import CosineRestarts as CosineRestarts
from .schedules import CosLog as CosLog
from .schedules import Exponential as Exponential
from .schedules import FlatCosine as FlatCosine
from .schedules import InverseTime as InverseTime
from .schedules import OneCycle as OneCycle
from .schedules import Polynomial as Polynomial
from .schedules import Step as Step
from .shards import Shards as Shards
from .training import History as History

if TYPE_CHECKING:
    from . import datasets as datasets
    from .ensemble import Ensemble as Ensemble
    from .heads import Heads as Heads
    from .many import cross_validate as cross_validate
    from .many import fit_many as fit_many
    from .range_test import find_learning_rate as find_learning_rate
    from .scheduler import Scheduler as Scheduler
    from .trials import search as search
