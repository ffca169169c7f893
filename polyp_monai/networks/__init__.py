"""Networks, one file each. All keep one contract: RGB 0..1 in, logits of the input's size out (see `frame_network`)."""

from polyp_monai.networks.deeplabv3_plus import DeepLabV3Plus
from polyp_monai.networks.efficient_unet import EfficientUNet
from polyp_monai.networks.ensemble import Ensemble
from polyp_monai.networks.frame_network import FrameNetwork
from polyp_monai.networks.resunet import ResUNet
from polyp_monai.networks.resunet_plus_plus import ResUNetPlusPlus
from polyp_monai.networks.spatial_attention_unet import SpatialAttentionUNet
from polyp_monai.networks.unet_plus_plus import UNetPlusPlus

__all__ = [
    "DeepLabV3Plus",
    "EfficientUNet",
    "Ensemble",
    "FrameNetwork",
    "ResUNet",
    "ResUNetPlusPlus",
    "SpatialAttentionUNet",
    "UNetPlusPlus",
]
