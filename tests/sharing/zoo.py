"""Five bundles in the style of MONAI's model zoo: what an inspection must not call dangerous."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NETWORKS = {
    "tool": {
        "_target_": "FlexibleUNet",
        "in_channels": 3,
        "out_channels": 2,
        "backbone": "efficientnet-b2",
        "spatial_dims": 2,
    },
    "spleen": {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "channels": [16, 32],
        "strides": [2],
    },
    "tumour": {"_target_": "SegResNet", "blocks_down": [1, 2], "blocks_up": [1], "init_filters": 16, "in_channels": 4},
    "nuclei": {"_target_": "scripts.net.Nuclei", "out_channels": 5},
    "template": {"_target_": "monai.networks.nets.BasicUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 4},
}
NAMES = sorted(NETWORKS)


def write(name: str, root: Path) -> Path:
    """The bundle `name` in the folder `root`."""
    for folder in ("configs", "docs", "models"):
        (root / folder).mkdir(parents=True)
    (root / "LICENSE").write_text("Apache License, Version 2.0\n")
    (root / "docs/README.md").write_text(f"# {name}\n")
    (root / "docs/data_license.txt").write_text("research only\n")
    json_file(root / "configs/metadata.json", metadata(name))
    json_file(root / "configs/train.json", train(name))
    json_file(root / "configs/evaluate.json", EVALUATE)
    json_file(root / "configs/multi_gpu_train.json", MULTI_GPU)
    json_file(root / "configs/inference.json", inference(name))
    (root / "configs/logging.conf").write_text(LOGGING)
    if name == "nuclei":
        (root / "scripts").mkdir()
        (root / "scripts/__init__.py").write_text("from .net import Nuclei\n")
        (root / "scripts/net.py").write_text(NET)
    if name == "template":
        (root / "large_files.yml").write_text(LARGE_FILES)
    return root


def json_file(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=4))


def metadata(name: str) -> dict:
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        **{"version": "0.1.0", "changelog": {"0.1.0": "first"}, "monai_version": "1.4.0", "pytorch_version": "2.4.0"},
        **{"numpy_version": "1.24.4", "required_packages_version": {"nibabel": "5.2.1"}, "name": name},
        **{
            "task": "segmentation",
            "description": "A model",
            "authors": "MONAI team",
            "copyright": "Copyright (c) MONAI",
        },
    }


def images(keys: Any, normalize: bool) -> list:
    first = [
        {"_target_": "LoadImaged", "keys": keys},
        {"_target_": "EnsureChannelFirstd", "keys": keys},
        {"_target_": "Orientationd", "keys": keys, "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": keys, "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
        {
            "_target_": "ScaleIntensityRanged",
            "keys": "image",
            "a_min": -57,
            "a_max": 164,
            "b_min": 0,
            "b_max": 1,
            "clip": True,
        },
    ]
    last = {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}
    return [*first, *[last] * normalize, {"_target_": "EnsureTyped", "keys": keys}]


def train(name: str) -> dict:
    return {
        "imports": ["$import glob", "$import os", "$import ignite"],
        **{"bundle_root": ".", "ckpt_dir": "$@bundle_root + '/models'", "output_dir": "$@bundle_root + '/eval'"},
        "dataset_dir": f"/workspace/data/{name}",
        "images": "$list(sorted(glob.glob(@dataset_dir + '/imagesTr/*.nii.gz')))",
        "labels": "$list(sorted(glob.glob(@dataset_dir + '/labelsTr/*.nii.gz')))",
        **{"val_interval": 5, "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"},
        **{"network_def": NETWORKS[name], "network": "$@network_def.to(@device)"},
        "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True, "squared_pred": True, "batch": True},
        "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.0001},
        "lr_scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@optimizer", "step_size": 600},
        "train": {
            "deterministic_transforms": images(["image", "label"], name == "tumour"),
            "random_transforms": [
                {
                    "_target_": "RandCropByPosNegLabeld",
                    "keys": ["image", "label"],
                    "label_key": "label",
                    "num_samples": 4,
                },
                {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 0},
            ],
            "preprocessing": {
                "_target_": "Compose",
                "transforms": "$@train#deterministic_transforms + @train#random_transforms",
            },
            "dataset": {
                "_target_": "CacheDataset",
                "data": "$[{'image': i, 'label': l} for i, l in zip(@images[:-9], @labels[:-9])]",
                "transform": "@train#preprocessing",
            },
            "dataloader": {"_target_": "DataLoader", "dataset": "@train#dataset", "batch_size": 2, "shuffle": True},
            "inferer": {"_target_": "SimpleInferer"},
            "handlers": [
                {"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler", "print_lr": True},
                {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "interval": "@val_interval"},
                {
                    "_target_": "StatsHandler",
                    "tag_name": "l",
                    "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
                },
                {"_target_": "TensorBoardStatsHandler", "log_dir": "@output_dir", "tag_name": "train_loss"},
            ],
            "trainer": {"_target_": "SupervisedTrainer", "max_epochs": 10, "device": "@device", "network": "@network"},
        },
        "validate": {
            "preprocessing": {"_target_": "Compose", "transforms": "%train#deterministic_transforms"},
            "inferer": {
                "_target_": "SlidingWindowInferer",
                "roi_size": [96, 96, 96],
                "sw_batch_size": 4,
                "overlap": 0.5,
            },
            "postprocessing": {
                "_target_": "Compose",
                "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
            },
            "handlers": [
                {
                    "_target_": "CheckpointSaver",
                    "save_dir": "@ckpt_dir",
                    "save_dict": {"model": "@network"},
                    "save_key_metric": True,
                }
            ],
            "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "network": "@network", "amp": True},
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)", "$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@train#trainer.run()"],
    }


EVALUATE = {
    "validate#handlers": [
        {"_target_": "CheckpointLoader", "load_path": "$@ckpt_dir + '/model.pt'", "load_dict": {"model": "@network"}},
        {"_target_": "MetricsSaver", "save_dir": "@output_dir", "metrics": ["val_mean_dice"], "summary_ops": "*"},
    ],
    "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
    "run": ["$@validate#evaluator.run()"],
}
MULTI_GPU = {
    "+imports": ["$import torch.distributed as dist"],
    "device": "$torch.device('cuda:' + os.environ['LOCAL_RANK'])",
    "network": {
        **{"_target_": "torch.nn.parallel.DistributedDataParallel", "module": "$@network_def.to(@device)"},
        "device_ids": ["@device"],
    },
    "train#handlers": "$@train#handlers[: -2 if dist.get_rank() > 0 else None]",
    "initialize": ["$dist.init_process_group(backend='nccl')", "$torch.cuda.set_device(@device)"],
    "finalize": ["$dist.is_initialized() and dist.destroy_process_group()"],
}
LOGGING = """[loggers]
keys=root

[handlers]
keys=consoleHandler

[formatters]
keys=fullFormatter

[logger_root]
level=INFO
handlers=consoleHandler

[handler_consoleHandler]
class=StreamHandler
level=INFO
formatter=fullFormatter
args=(sys.stdout,)

[formatter_fullFormatter]
format=%(asctime)s - %(name)s - %(levelname)s - %(message)s
"""
NET = """import torch
from torch import nn


class Nuclei(nn.Module):
    def __init__(self, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(3, out_channels, 1)

    def forward(self, x):
        return torch.sigmoid(self.conv(x))
"""
LARGE_FILES = f"""large_files:
- path: models/model.pt
  url: https://api.example.org/v2/models/template/files/model.pt
  hash_val: {"ab" * 32}
  hash_type: sha256
"""


def inference(name: str) -> dict:
    return {
        "imports": ["$import glob", "$import os"],
        **{"bundle_root": ".", "output_dir": "$@bundle_root + '/eval'", "dataset_dir": f"/workspace/data/{name}"},
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        **{"device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')", "network_def": NETWORKS[name]},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": images("image", False)},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "sw_batch_size": 4},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "handlers": [
            {
                **{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"},
                **{
                    "load_dict": {"model": "@network"},
                    "_disabled_": "$not os.path.exists(@bundle_root + '/models/model.pt')",
                },
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "network": "@network",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }
