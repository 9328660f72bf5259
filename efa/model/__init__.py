"""EFA: video encoder (swin), text encoder (text), equations 1-10 (fusion), decoder, and all together (assessor)."""

from efa.model.assessor import EFAModel, Output, losses
from efa.model.decoder import Decoder, load_bert
from efa.model.fusion import Fusion, FusionOutput
from efa.model.swin import VideoSwin, load_encoder
from efa.model.text import TextEncoder

__all__ = ["Decoder", "EFAModel", "Fusion", "FusionOutput", "Output", "TextEncoder", "VideoSwin", "load_bert"]
__all__ += ["load_encoder", "losses"]
