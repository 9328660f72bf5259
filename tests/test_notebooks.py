"""Notebooks are committed clean, take parameters, and run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import tiny

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(file for file in (ROOT / "notebooks").glob("*.ipynb") if not file.stem.startswith("out"))
OF_RUNS = {"preset", "seeds", "train", "overrides"}
PARAMETERS = {
    "ablation": OF_RUNS,
    "audit": {"checkpoint", "preset"},
    "benchmarks": {"results"},
    "comparison": OF_RUNS | {"dataset", "protocol"},
    "dataset": {"dataset", "preset"},
    "explore": {"preset", "dataset", "clips", "live", "checkpoint"},
    "loss_weight": OF_RUNS | {"dataset", "protocol"},
    "model": {"checkpoint", "preset"},
    "pose": OF_RUNS - {"preset"} | {"pixels"},
    "qualitative": OF_RUNS,
    "real_people": {"results"},
    "training": OF_RUNS,
}


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text())["cells"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "papermill" not in notebook.metadata
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_opens_with_a_title_and_has_one_cell_of_parameters(path):
    assert cells(path)[0]["cell_type"] == "markdown"
    assert cells(path)[0]["source"][0].startswith("# ")
    tagged = [cell for cell in cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0]["cell_type"] == "code"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_reads_every_parameter(path, caplog):
    from papermill import inspect_notebook

    assert set(inspect_notebook(str(path))) == PARAMETERS[path.stem]
    assert "Unable to parse" not in caplog.text


def test_most_of_the_code_is_visible():
    """A book that teaches by code shows it: hidden are imports of plumbing, alt texts and solutions."""
    shown = hidden = 0
    for path in NOTEBOOKS:
        for cell in cells(path):
            lines = sum(bool(line.strip()) for line in cell["source"])
            folded = {"hide-input", "hide-cell", "remove-input", "remove-cell"} & set(cell["metadata"].get("tags", []))
            shown += lines * (cell["cell_type"] == "code" and not folded)
            hidden += lines * (cell["cell_type"] == "code" and bool(folded))
    assert shown >= 0.6 * (shown + hidden)


@pytest.mark.parametrize("name", ["dataset", "model", "training", "ablation"])
def test_the_main_chapters_end_in_solved_exercises(name):
    found = cells(ROOT / "notebooks" / f"{name}.ipynb")
    exercises = [cell for cell in found if cell["id"].startswith("exercise")]
    solutions = [cell for cell in found if cell["id"].startswith("solution")]
    assert len(exercises) == len(solutions) >= 3
    assert all("hide-cell" in cell["metadata"]["tags"] for cell in solutions)
    assert found[-1] is solutions[-1]


def papermill(name: str, out: Path, home: Path, folder: Path, **parameters: object) -> nbformat.NotebookNode:
    """Runs a notebook as a reader would, from `folder`; fails on an error and on anything written to stderr."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EFA_")} | {"PYTHONPATH": str(ROOT)}
    environment |= {"EFA_HOME": str(home), "JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / name), str(out)]
    command += ["-y", json.dumps(parameters), "-k", "python3"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    notebook = nbformat.read(out, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    return notebook


def output_of(notebook: nbformat.NotebookNode, cell_id: str) -> str:
    (cell,) = [cell for cell in notebook.cells if cell.id == cell_id]
    return "".join(str(o.get("data", {}).get("text/html", o.get("text", ""))) for o in cell.outputs)


SETTINGS = {"preset": "smoke", "overrides": tiny.SETTINGS | {"training.epochs": 1, "prediction.max_tokens": 8}}


@pytest.mark.slow
def test_the_ablation_trains_what_is_missing_and_finds_it_again(tmp_path):
    first = papermill("ablation.ipynb", tmp_path / "1.ipynb", tmp_path, ROOT, **SETTINGS)
    assert "9 runs, 0 finished before" in output_of(first, "obtain")
    assert output_of(first, "table-6").count(">1 seed, done</span>") == 9
    again = papermill("ablation.ipynb", tmp_path / "2.ipynb", tmp_path, ROOT / "notebooks", **SETTINGS)
    assert "9 runs, 9 finished before" in output_of(again, "obtain")
    more = papermill("ablation.ipynb", tmp_path / "3.ipynb", tmp_path, ROOT, seeds="0,1", **SETTINGS)
    assert "18 runs, 9 finished before" in output_of(more, "obtain")
    assert "2 seeds" in output_of(more, "table-6")
    shown = papermill("model.ipynb", tmp_path / "4.ipynb", tmp_path, ROOT)
    assert "A trained model" in output_of(shown, "open")


@pytest.mark.slow
def test_the_comparison_trains_every_system_once(tmp_path):
    shown = papermill("comparison.ipynb", tmp_path / "1.ipynb", tmp_path, ROOT, **SETTINGS)
    assert "6 runs, 0 finished before" in output_of(shown, "obtain")
    assert "7 runs, 2 finished before" in output_of(shown, "obtain")  # EFA and RICA2 stand in both tables
    assert output_of(shown, "table-4").count(">1 seed, done</span>") == 6
    assert output_of(shown, "table-5").count(">1 seed, done</span>") == 7
    told = papermill("comparison.ipynb", tmp_path / "2.ipynb", tmp_path, ROOT, protocol="oracle", **SETTINGS)
    assert "protocol oracle" in output_of(told, "table-5")
    assert "given: the true action is given" in output_of(told, "table-5")


@pytest.mark.slow
def test_the_loss_weight_notebook_trains_five_rows(tmp_path):
    shown = papermill("loss_weight.ipynb", tmp_path / "1.ipynb", tmp_path, ROOT, **SETTINGS)
    assert "5 runs, 0 finished before" in output_of(shown, "obtain")
    assert output_of(shown, "table-7").count(">1 seed, done</span>") == 5
    assert "<img" in output_of(shown, "figure-7-form")


@pytest.mark.slow
def test_notebooks_without_results_or_training_say_so(tmp_path):
    for name, tables in (("comparison", "45"), ("ablation", "6"), ("loss_weight", "7")):
        shown = papermill(f"{name}.ipynb", tmp_path / "1.ipynb", tmp_path, ROOT, preset="smoke", train=False)
        for table in tables:
            assert "No results yet" in output_of(shown, f"table-{table}")
            assert f"efa run {table} --preset smoke" in output_of(shown, f"table-{table}")
    assert not (tmp_path / "runs").exists()
    shown = papermill("model.ipynb", tmp_path / "2.ipynb", tmp_path, ROOT / "notebooks", preset="smoke")
    assert "RANDOM WEIGHTS" in output_of(shown, "open")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["", "smoke", "gpu", "paper"])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_shows_what_is_there_with_every_preset(path, preset, tmp_path):
    """From the root and from notebooks/; results that are not there are said to be missing, and nothing is trained."""
    given = {"preset": preset} if preset and "preset" in PARAMETERS[path.stem] else {}
    if preset and not given:
        pytest.skip("has no presets")
    given |= {"train": False} if "train" in PARAMETERS[path.stem] else {}
    folder = ROOT if preset in ("smoke", "paper") else ROOT / "notebooks"
    (tmp_path / "results").symlink_to(ROOT / "results")
    papermill(path.name, tmp_path / "out.ipynb", tmp_path, folder, **given)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ablation", "dataset", "real_people"])
def test_figures_and_tables_are_the_same_bytes_each_time(name, tmp_path):
    (tmp_path / "results").symlink_to(ROOT / "results")
    given = {"train": False} if "train" in PARAMETERS[name] else {}
    both = [papermill(f"{name}.ipynb", tmp_path / f"{i}.ipynb", tmp_path, ROOT, **given) for i in range(2)]
    shown = [[cell.outputs for cell in one.cells if cell.cell_type == "code"] for one in both]
    strip = [[{k: v for k, v in o.items() if k != "execution_count"} for cell in one for o in cell] for one in shown]
    assert strip[0] == strip[1]
    assert any("svg" in str(output) or "<table" in str(output) for output in strip[0])
