"""The two networks of BlazePose (Bazarevsky et al. 2020; Apache-2.0), fetched once out of the wheel of mediapipe.

    python -m efa_datasets.pose_models

They are not in the repository. pip downloads one wheel from the package registry (36 MB; every platform's holds the
same files), both are checked by their SHA-256 and kept with the Python environment; nothing of mediapipe is installed.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from efa.data import blazepose
from efa.utils.errors import InputError
from efa.utils.files import write_safely

FILES = {  # below mediapipe/modules in the wheel -> SHA-256
    "pose_detection/pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark/pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
}
_WHEEL = ("mediapipe==0.10.21", "--no-deps", "--only-binary=:all:", "--python-version=3.11")
_PLATFORM = "--platform=manylinux_2_28_x86_64"


def _is_whole(name: str) -> bool:
    file = blazepose.FOLDER / Path(name).name
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == FILES[name]


def fetch() -> bool:
    """Puts what is missing or damaged into `blazepose.FOLDER`; False where both files are there and whole.

    Raises InputError: pip cannot download the wheel, or a file in it is not the one that was tried.
    """
    missing = [name for name in FILES if not _is_whole(name)]
    if not missing:
        return False
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *_WHEEL, _PLATFORM, f"--dest={folder}"], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"pip cannot download {_WHEEL[0]}: {last}", hint=f"go online and run: {blazepose.FETCH}")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            for name in missing:
                content = wheel.read(f"mediapipe/modules/{name}")
                if hashlib.sha256(content).hexdigest() != FILES[name]:
                    raise InputError(f"{name} has another SHA-256 than the file that was tried", file=_WHEEL[0])
                target = blazepose.FOLDER / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                write_safely(target, lambda path, content=content: path.write_bytes(content))  # type: ignore[misc]
    return True


if __name__ == "__main__":
    try:
        print(f"pose estimator: {'fetched into' if fetch() else 'already in'} {blazepose.FOLDER}")
    except (InputError, OSError) as error:
        sys.exit(f"efa: {error}")
