"""--KEY VALUE and --set KEY=VALUE: what is taken, and what is refused before anything is imported or written."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import yaml

from polyp_monai.bundle import overrides
from polyp_monai.bundle.locate import shipped
from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from tests.cli.conftest import fails, mistakes
from tests.conftest import small_options


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--epoch", "3"], "did you mean --epochs?"),
        (["--epochs"], "a value is missing"),
        (["--epochs", "--resume"], "a value is missing"),
        (["epochs"], "is not expected here"),
        (["--resume", "7"], "is not expected here"),
        (["--dataset_dir", "x"], "is set by --data"),
        (["--split", "test"], "has no meaning for `polyp train`"),
        (["--rank", "3"], "is no option: configs/train.yaml makes it out of the options"),
        (["--is_not_rank0", "true"], "is no option"),
        (["--device_type", "cpu"], "is no option"),
        (["--run_id", "nothing"], "no such option"),
        (["--train::trainer::max_epochs", "3"], "is no option"),
    ],
)
def test_words_that_cannot_be_understood(dataset, tmp_path, capsys, monkeypatch, words, text):
    monkeypatch.chdir(tmp_path)
    assert text in fails(capsys, "train", "unet", "--data", dataset, *words, status=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--epochs", "many"], "expected a whole number"),
        (["--epochs", "2.5"], "expected a whole number"),
        (["--epochs", "true"], "expected a whole number"),
        (["--epochs", "0"], "expected 1 or more"),
        (["--learning_rate", "fast"], "expected a number"),
        (["--learning-rate", "nan"], "expected a number"),
        (["--learning-rate", "1e999"], "expected a number"),
        (["--resume=7"], "expected true or false"),
        (["--pretrained_sha256", "zz"], "expected the 64 digits of a sha256"),
        (["--pretrained_sha256", "a" * 64], "there are no pretrained weights"),
        (["--cache_dir", __file__], "test_overrides.py: is a file; give the name of a folder"),
        (["--output_dir", "s3://bucket/x"], "expected a path of this machine"),
        (["--set", "=1"], "--set =1: expected KEY=VALUE"),
        (["--threshold", "7"], "expected 0 to 1"),
        (["--image_size", "0"], "expected 32 to"),
        (["--seed", "-1"], "expected 0 to 4294967295"),
        (["--val_interval", "5", "--epochs", "3"], "no weights would be kept"),
        (["--device", "cuda"], "no CUDA device"),
        (["--device", "abacus"], "no such device"),
        (["--device", "meta"], "no such device"),
        (["--loss", "$1"], "no such loss"),
        (["--loss", "{'_target_': 'os.system'}"], "no such loss"),
        (["--loss", "focal_tverski"], "did you mean focal_tversky?"),
        (["--epochs", "$__import__('os').system('touch hacked') or 1"], "holds an expression of MONAI"),
        (["--epochs", "@batch_size"], "holds an expression of MONAI"),
        (["--epochs", "%configs/model.yaml::epochs"], "holds an expression of MONAI"),
        (["--weights", "$print(1)"], "is no path"),
        (["--network_def::body::channels", "['$print(1)', 2]"], "holds an expression of MONAI"),
        (["--network_def::body::channels", "7"], "expected a list"),
        (["--network_def::body::channel", "[4, 8]"], "did you mean --network_def::body::channels?"),
        (["--network_def::body::_target_", "os.system"], "says what code is run"),
        (["--network_def", "{'_target_': 'os.system'}"], "holds an expression of MONAI"),
        (["--tracking", "nope"], "expected mlflow"),
        (["--set", "train::trainer::max_epoch=3"], "did you mean train::trainer::max_epochs?"),
        (["--set", "train::trainer::max_epochs"], "expected KEY=VALUE"),
        (["--set", "dataset_dir=x"], "is set by --data"),
        (["--learning-rate", "0"], "expected 1e-09 to 100"),
    ],
)
def test_a_wrong_value_is_refused_and_nothing_is_written(dataset, tmp_path, capsys, monkeypatch, words, text):
    if words[-1] == "cuda" and torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    monkeypatch.chdir(tmp_path)
    assert text in fails(capsys, "train", "unet", "--data", dataset, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="there is mps here")
def test_a_device_of_another_machine_is_refused(dataset, capsys):
    assert "only Apple's machines" in fails(capsys, "train", "unet", "--data", dataset, "--device", "mps")


def test_a_network_that_cannot_be_built_is_one_line(dataset, tmp_path, capsys):
    words = ["--network_def::body::channels", "[1]", "--device", "cpu"]
    error = fails(capsys, "train", "unet", "--data", dataset, "--out", tmp_path / "run", *words)
    assert "cannot be built: ValueError" in error
    assert not (tmp_path / "run").exists()


def test_all_mistakes_are_named_at_once_and_before_heavy_imports(tmp_path):
    words = ["train", "unet", "--data", "nowhere", "--epochs", "0", "--seed", "-1", "--epoch", "3", "--loss", "none"]
    code = (
        "import sys; from polyp_monai.cli.main import main\n"
        f"assert main({words}) == 2\n"
        "assert not {'torch', 'monai', 'cv2'} & sys.modules.keys()"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    lines = shown.stderr.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("polyp: error: ") for line in lines)
    for part in ("--epoch:", "nowhere/datalist.json", "--epochs 0", "--seed -1", "--loss none"):
        assert any(part in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_values_have_the_type_of_the_default(bundle):
    given = {"epochs": "3", "learning_rate": "1", "crop": "true", "network_def::body::channels": "[4, 8, 16]"}
    found = overrides.check(bundle, "train", given)
    assert found["epochs"] == 3
    assert type(found["learning_rate"]) is float
    assert found["crop"] is True
    # a macro stands at network_def: MONAI is given what it stands for, and the change in it
    assert list(found)[-2:] == ["network_def", "network_def::body::channels"]
    assert found["network_def::body::channels"] == [4, 8, 16]


def test_set_takes_any_key_and_expressions(bundle):
    overlap = "validate::inferer::inferer::overlap"
    extra = [f"{overlap}=0.5", "epochs=$1 + 1", "train::random_transforms::3::rotation=30"]
    found = overrides.check(bundle, "train", {}, extra)
    assert found[overlap] == 0.5
    assert found["epochs"] == "$1 + 1"
    assert found["train::random_transforms::3::rotation"] == 30


def test_set_holds_to_the_ranges_of_the_options(bundle):
    with pytest.raises(PolypError, match="--set threshold=5: expected 0 to 1"):
        overrides.check(bundle, "inference", {}, ["threshold=5"])


def test_set_without_weights_at_the_end_is_no_success(dataset, tmp_path, capsys):
    """A training on another rank writes nothing."""
    words = [*small_options(epochs="1"), "--set", "rank=3"]
    assert "wrote no weights" in fails(capsys, "train", "unet", "--data", dataset, "--out", tmp_path / "r", *words)
    assert not (tmp_path / "r").exists()


def test_a_key_that_a_bundle_adds_is_an_option(bundle, capsys):
    path = bundle / "configs/inference.yaml"
    path.write_text(path.read_text().replace("overlay: false", "my_own: false   # of mine\noverlay: false"))
    assert overrides.check(bundle, "inference", {"my_own": "true"}) == {"my_own": True}
    with pytest.raises(SystemExit):
        main(["predict", str(bundle), "--help"])
    assert "--my-own" in capsys.readouterr().out


def test_weights_of_a_shipped_bundle_go_by_its_name(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = overrides.check(bundle, "inference", {"weights": "efficient_unet"})
    assert found == {"weights": str(shipped()["efficient_unet"] / "models/model.pt")}
    assert overrides.check(bundle, "inference", {"weights": "w.pt"}) == {"weights": str(tmp_path / "w.pt")}


def test_changes_are_printed(trained, dataset, tmp_path, caplog):
    main(["evaluate", str(trained), "--data", str(dataset), "--out", str(tmp_path / "e"), "--threshold", "0.4"])
    assert "threshold: 0.5 -> 0.4" in caplog.text


def test_a_nested_key_below_a_macro_can_be_set(trained, dataset, tmp_path, caplog):
    words = ["--set", "validate::inferer::inferer::overlap=0.5"]
    assert main([*map(str, ["evaluate", trained, "--data", dataset, "--out", tmp_path / "e"]), *words]) == 0
    assert "validate::inferer::inferer::overlap: 0.25 -> 0.5" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("configs/model.yaml", b"", "holds no settings"),
        ("configs/model.yaml", b"image_size: 64\n", "'network_def' is missing"),
        ("configs/model.yaml", "image_size: 64\n".encode("utf-16"), "is no UTF-8 text"),
        ("configs/model.yaml", b"window: [64\n", "is not YAML (line 2)"),
        ("configs/inference.yaml", b"- a\n", "holds no settings"),
        ("configs/metadata.json", b"{", "is not JSON"),
        ("configs/metadata.json", b"[]", "holds no metadata"),
    ],
)
def test_a_damaged_file_of_a_bundle_is_named(file, content, reason, bundle, tmp_path, capsys):
    (bundle / file).write_bytes(content)
    error = fails(capsys, "predict", bundle, "photo.jpg", "--out", tmp_path / "m")
    assert reason in error
    assert str(bundle / file) in error


def test_the_options_of_all_configs_are_marked():
    """What the rest of a config is made of stands between the marks, with every key of model.yaml."""
    from polyp_monai.bundle.options import MODEL_KEYS, options

    root = shipped()["unet"]
    train, evaluate, inference = (options(root, name) for name in ("train", "evaluate", "inference"))
    assert set(MODEL_KEYS) <= train.keys()
    assert {"runtime", "threshold", "overlay"} <= evaluate.keys() & inference.keys()
    for found in (train, evaluate, inference):
        assert not {"rank", "network", "imports", "initialize", "run", "validate"} & found.keys()
    model = yaml.safe_load((root / "configs/model.yaml").read_text())
    assert train["epochs"].default == model["epochs"]
    assert train["network_def"].default == model["network_def"]
    assert "side of the network's input" in train["image_size"].about


def test_a_config_without_marks_has_no_options(bundle, capsys):
    path = bundle / "configs/inference.yaml"
    path.write_text(path.read_text().replace("# options", "#"))
    assert "is no option" in mistakes(capsys, "predict", bundle, "x.jpg", "--overlay", status=2)[0]


def test_literals():
    found = [overrides.values.literal(text) for text in ("true", "null", "1e-3", "[1, 'a']", "word", "1 +")]
    assert found == [True, None, 1e-3, [1, "a"], "word", "1 +"]


def test_a_check_raises_all_mistakes(bundle):
    with pytest.raises(PolypError) as caught:
        overrides.check(bundle, "train", {"epochs": "x", "seed": "-1", "nothing": "1"})
    assert len(caught.value.lines) == 3
