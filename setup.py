"""Installs mmdiffdis: `pip install -c constraints.txt -e '.[lite]'`, or `.[full]` for full mmcv."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
README = ROOT / 'README.md'
VERSION = re.search(
    r"^__version__ = '(.+)'$", (ROOT / 'mmdiffdis' / 'version.py').read_text(), re.MULTILINE
).group(1)
WEB = ['gradio>=6']  # the page of `mmdiffdis web`
SERVE = [  # `mmdiffdis serve`
    'fastapi>=0.115',
    'fastapi-offline',  # its page without a content delivery network
    'python-multipart',
    'uvicorn',
]
# In an installed package they are in `mmdiffdis/.mim`, where OpenMMLab's `mim` looks for them.
BESIDE_THE_PACKAGE = ('configs', 'tools', 'model-index.yml')


class BuildWithConfigsAndTools(build_py):
    """Adds what is beside the package in the repository, except to an editable install."""

    def run(self) -> None:
        """Copies the package, and configs and tools into it."""
        super().run()
        if self.editable_mode:  # which uses those of the repository
            return
        folder = Path(self.build_lib, 'mmdiffdis', '.mim')
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier build
        folder.mkdir(parents=True)
        for name in BESIDE_THE_PACKAGE:
            if (ROOT / name).is_dir():
                no_bytecode = shutil.ignore_patterns('__pycache__')
                shutil.copytree(ROOT / name, folder / name, ignore=no_bytecode)
            else:
                shutil.copy2(ROOT / name, folder / name)


setup(
    name='mmdiffdis',
    version=VERSION,
    description='DiffDIS for MMSegmentation: one-step diffusion for dichotomous image segmentation',
    long_description=README.read_text(encoding='utf-8') if README.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_packages(include=['mmdiffdis', 'mmdiffdis.*']),
    py_modules=['mmdiffdis_command'],
    package_data={
        'mmdiffdis': ['weights/*.safetensors', 'weights/models.json', 'weights/NOTICE.md']
    },
    cmdclass={'build_py': BuildWithConfigsAndTools},
    entry_points={'console_scripts': ['mmdiffdis = mmdiffdis_command:main']},
    install_requires=[
        # Before 2.6, torch.load(weights_only=True) could be made to run code (CVE-2025-32434).
        'torch>=2.6',
        # The first release in which transformers beside torch>=2.5 is no registration conflict.
        'mmengine>=0.10.7,<1',
        'mmsegmentation==1.2.*',
        'ftfy',  # mmseg.utils imports ftfy and regex, but mmsegmentation does not require them
        'regex',
        'diffusers>=0.35,<1',
        'safetensors>=0.4.3',
        'kornia_rs>=0.2,<1',  # decodes PNG in half of OpenCV's and Pillow's time or less
        'numpy>=1.26',
        'pillow',
        'scikit-image',
        'tqdm',
    ],
    # mmcv itself is an extra, because mmcv and mmcv-lite install into the same folder: to require
    # either would overwrite the other. `import mmdiffdis` says so if there is none.
    extras_require={
        'lite': ['mmcv-lite==2.1.0'],
        'full': ['mmcv==2.1.0'],
        'train': ['tensorboard'],
        'lora': ['peft>=0.17'],  # model.lora: fine-tuning adapters alone
        'convert': ['transformers'],  # once, for the empty prompt's embedding
        'heif': ['pillow-heif'],  # HEIC, as phones write it
        'ray': ['ray[data]'],  # predicting on many machines (docs/usage.md)
        'web': WEB,
        'serve': SERVE,
        # Exporting, running and reading ONNX files; predict.py needs onnxruntime alone.
        'onnx': ['onnx', 'onnxruntime', 'onnxscript'],
        'docs': ['mkdocs-material>=9.6', 'mkdocstrings[python]>=1'],
        'tests': [
            'pytest>=8',
            'pytest-xdist',
            'setuptools>=70.1',  # to build a wheel without the package wheel
            'scipy',
            'ruff',
            'transformers',
            'peft>=0.17',
            'pysodmetrics>=1.6',
            'tensorboard',
            'onnx',
            'onnxruntime',
            'onnxscript',
            *WEB,
            *SERVE,
            'httpx',
            'playwright',  # drives Chromium, which it does not bring
        ],
    },
    classifiers=[
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)
