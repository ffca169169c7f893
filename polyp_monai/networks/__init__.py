"""Networks, one file each. All keep one contract: RGB 0..1 in, logits of the input's size out (see `frame_network`)."""

from polyp_monai.networks.frame_network import FrameNetwork

__all__ = ["FrameNetwork"]
