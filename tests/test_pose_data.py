"""`efa data pose`: from videos or landmarks to a data set that EFA on poses trains on."""

import json

import numpy as np
import pandas as pd
import pytest
import typer
from landmark_clips import project
from test_skeletons import POSE

import formsim
from efa.config import build
from efa.data.loader import open_dataset
from efa.runs import Run
from efa.utils.errors import InputError
from efa_datasets.pose_files import command
from formsim.skeletons import skeleton


def make_folder(folder, nobody: tuple[int, ...] = ()):
    """Landmark files of 24 performances of two actions, with a manifest."""
    rows = []
    folder.mkdir()
    for i in range(24):
        clip = formsim.clips("main", 24, 0, ("Squat", "Push-Up"))[i]
        seen = project(skeleton(clip).astype(np.float64), 12.0)
        image = np.full_like(seen.image, np.nan) if i in nobody else seen.image
        seen._replace(image=image).save(folder / f"{i}.npz")
        rows.append(formsim.record(clip) | {"path": f"{i}.npz"})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    table = formsim.step_table(formsim.clips("main", 24, 0, ("Squat", "Push-Up")))
    texts = {key: {"steps": steps, "instruction": instruction} for key, (steps, instruction) in table.items()}
    (folder / "steps.json").write_text(json.dumps(texts))
    return folder


def test_a_folder_of_landmarks_becomes_a_data_set_and_a_run(home, tmp_path, capsys):
    command(make_folder(tmp_path / "in"), tmp_path / "out")
    settings = {k: v for k, v in POSE.items() if not k.startswith(("data.clips", "data.actions", "data.sealed"))}
    config = build("pose", settings | {"data.source": str(tmp_path / "out"), "training.epochs": 1})
    assert len(open_dataset(config.data).table) == 24
    folder = Run("6", "EFA", 0, config).execute()
    assert len(pd.read_parquet(folder / "predictions.parquet")) == 4


def test_clips_without_a_person_are_left_out_each_with_a_line(tmp_path, capfd):
    with pytest.raises(typer.Exit) as end:
        command(make_folder(tmp_path / "in", nobody=(3, 5)), tmp_path / "out")
    assert end.value.exit_code == 2
    err = capfd.readouterr().err
    assert err.count("nobody is found") == 2
    assert "3.npz" in err
    assert "row 5" in err
    assert len(pd.read_parquet(tmp_path / "out" / "manifest.parquet")) == 22
    with pytest.raises(InputError, match="nobody is found in any clip"):
        command(make_folder(tmp_path / "none", nobody=tuple(range(24))), tmp_path / "empty")
