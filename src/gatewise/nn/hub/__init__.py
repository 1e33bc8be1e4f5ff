"""Layers as files, and the sparse blocks of transformers as layers and back."""

from gatewise.nn.hub.architectures import ARCHITECTURES, REFUSED, Architecture
from gatewise.nn.hub.blocks import from_block, from_state_dict, to_block, to_state_dict
from gatewise.nn.hub.files import load_block, load_layer, save_block, save_layer
from gatewise.nn.hub.shared import GatedShared
from gatewise.nn.hub.writing import to_config

__all__ = ["ARCHITECTURES", "REFUSED", "Architecture", "GatedShared", "from_block", "from_state_dict", "load_block"]
__all__ += ["load_layer", "save_block", "save_layer", "to_block", "to_config", "to_state_dict"]
