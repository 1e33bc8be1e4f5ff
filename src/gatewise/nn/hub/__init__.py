"""Layers as files, and the sparse blocks of public checkpoints as layers and back."""

from gatewise.nn.hub.blocks import from_block, from_state_dict, to_block, to_config, to_state_dict
from gatewise.nn.hub.files import load_block, load_layer, save_block, save_layer
from gatewise.nn.hub.shared import GatedShared
from gatewise.nn.hub.styles import STYLES, Style

__all__ = ["STYLES", "GatedShared", "Style", "from_block", "from_state_dict", "load_block", "load_layer"]
__all__ += ["save_block", "save_layer", "to_block", "to_config", "to_state_dict"]
