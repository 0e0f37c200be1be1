"""What is used of Keras that Keras does not publish. A new version of Keras is tried against this file first."""

from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.models.functional import Functional
from keras.src.saving.saving_lib import H5IOStore, _save_state

__all__ = ["Functional", "H5IOStore", "get_stateless_scope", "save_state_to"]

save_state_to = _save_state
