"""`pip install .` for madn and baselines; `make train` and `make test` install the pinned requirements/ instead."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
# Read, not imported: madn's own imports are not there yet.
version = re.search(r'^__version__ = "(.+)"$', (here / "madn/version.py").read_text(encoding="utf-8"), re.M).group(1)
readme = here / "README.md"

setup(
    name="madn",
    version=version,
    description="Motion deblurring with Keras 3: MADN and four baselines, trained, evaluated and exported",
    long_description=readme.read_text(encoding="utf-8") if readme.is_file() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    packages=[*find_packages(include=["madn", "madn.*", "baselines", "baselines.*"]), "madn.published_weights"],
    package_dir={"madn.published_weights": "weights"},  # where madn.weights looks in an installation
    package_data={
        "madn": ["py.typed"],
        "baselines": ["py.typed"],
        "madn.papers": ["published.json"],
        "madn.restoration": ["report*.html", "report.css", "report.js"],
        "madn.training": ["run_report.html"],
        "madn.export": ["examples/*.py", "web/*"],
        "madn.published_weights": ["registry.json", "*.weights.h5", "*.onnx", "README.md", "LICENSE-SRN"],
    },
    entry_points={"console_scripts": ["madn = madn.__main__:console"]},
    python_requires=">=3.11,<3.14",
    # tensorflow-addons is not among these: its last release needs TensorFlow 2.15 and cannot be imported beside
    # Keras 3. `make check-tf215` uses it in an environment of its own.
    install_requires=[
        "tensorflow>=2.18",
        "keras>=3.15.1,<3.16",  # madn.system.keras_private uses what may change with a minor version
        "tensorboard>=2.18",  # TensorFlow 2.21 no longer brings it
        "filelock>=4.3",
        "h5py>=3.11",
        "jinja2>=3.1",
        "matplotlib>=3.10",
        "msgspec>=0.20",
        "numpy>=1.26",
        "opencv-python-headless>=4.10",  # madn opens no windows, and a server has no libGL
        # 13.0 mends Pillow's JPEG decoder, and pip takes it; apache-beam 2.77 holds those who install it at 12.3.
        "pillow>=12.3",
        "psutil>=5.9",
        "scikit-image>=0.25",
        "scipy>=1.13",
        "tabulate>=0.10",
        "tqdm>=4.66",
        "tyro>=1.0",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.18"],
        "torch": ["torch>=2.6"],
        "metrics": ["torch>=2.6", "torchvision>=0.21", "torchmetrics>=1.6"],  # LPIPS and DISTS
        # Beam's handler of TensorFlow models imports tensorflow-hub, and that pkg_resources.
        "beam": ["apache-beam>=2.77", "tensorflow-hub>=0.16.1", "setuptools<82"],
        "jax": ["jax>=0.10"],
        "heif": ["pillow-heif>=1.0"],  # photos of phones: .heic, .heif
        "video": ["av>=18"],  # videos, through FFmpeg's libraries, which its wheels bring along
        "notebooks": ["jupyterlab>=4.2", "ipykernel>=6.29", "nbclient>=0.10"],
        # A few photos restored without TensorFlow's start. requirements/light.txt needs no TensorFlow at all.
        "onnx": ["onnxruntime>=1.24"],
        # A SavedModel takes nothing more; these write and check ONNX and LiteRT files.
        "export": ["tf2onnx>=1.17", "onnx>=1.18", "onnxruntime>=1.24", "ai-edge-litert>=2.0"],
        "dev": ["pytest>=8.3", "pytest-xdist>=3.6", "selenium>=4.40"],
    },
)
