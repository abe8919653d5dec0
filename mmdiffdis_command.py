"""The command `mmdiffdis`: runs the tools that come with the package.

It is a module beside the package, whose import takes seconds, and uses the standard library alone.
"""

import argparse
import runpy
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

# Command -> file in tools/, and what it does.
COMMANDS = {
    'predict': ('predict.py', 'masks, cut-outs, overlays or edges of images and videos'),
    'train': ('train.py', 'train a model'),
    'test': ('test.py', "score a checkpoint on its config's test set"),
    'eval': ('analysis_tools/eval_masks.py', 'score folders of masks of any model'),
    'check': ('analysis_tools/check_dataset.py', 'find what is wrong in a data set'),
    'browse': ('analysis_tools/browse_dataset.py', 'draw the samples that a config trains on'),
    'benchmark': ('analysis_tools/benchmark.py', 'compare speed, memory and scores of models'),
    'flops': ('analysis_tools/get_flops.py', 'count parameters and operations'),
    'memory': ('analysis_tools/training_memory.py', 'count the memory of a training step'),
    'ablation': ('analysis_tools/run_ablation.py', 'train and test several configs, in one table'),
    'convert': ('model_converters/diffdis_to_mmseg.py', "one checkpoint of DiffDIS's release"),
    'convert-onnx': ('model_converters/onnx_to_mmseg.py', 'a checkpoint of an ONNX file'),
    'export': ('deployment/export_onnx.py', 'an ONNX file, which runs without PyTorch'),
    'publish': ('model_converters/publish_model.py', 'the weights of a checkpoint alone'),
    'web': ('deployment/web.py', 'masks and cut-outs on a web page'),
    'serve': ('deployment/serve.py', 'masks and cut-outs for other programs, over HTTP'),
    'latents': ('dataset_converters/encode_latents.py', 'encode a training set once'),
    'convert-data': (
        'dataset_converters/to_dis.py',
        'pairs of COCO, labelme, DAVIS, cut-outs, ...',
    ),
    'teach': ('dataset_converters/teach.py', "pairs of photographs and a model's masks"),
    'synthetic': ('dataset_converters/synthetic_dis.py', 'draw a synthetic data set'),
    'zoo': ('zoo.py', 'list models: configs, weights, licences, what was verified'),
    'demo': ('demo.py', 'train, score and predict on synthetic images, in minutes on a CPU'),
}


def main() -> None:
    """Runs the tool that the command line names, with the arguments that follow."""
    (package,) = find_spec('mmdiffdis').submodule_search_locations
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog='mmdiffdis',
        usage='%(prog)s COMMAND [ARGUMENT ...]',
        description='Segmentation of the foreground object of an image. COMMAND is one of:\n\n'
        + '\n'.join(f'  {name:{width}}  {text}' for name, (_, text) in COMMANDS.items()),
        epilog='`mmdiffdis COMMAND --help` lists its arguments; `mmdiffdis predict photo.jpg` is a '
        'start.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('command', metavar='COMMAND', choices=COMMANDS, help=argparse.SUPPRESS)
    version = runpy.run_path(str(Path(package, 'version.py')))['__version__']
    parser.add_argument('--version', action='version', version=f'mmdiffdis {version}')
    command = parser.parse_args(sys.argv[1:2]).command

    # Read without importing the package.
    root = runpy.run_path(str(Path(package, 'utils', 'shipped.py')))['ROOT']
    sys.argv[:2] = [f'mmdiffdis {command}']
    spec = spec_from_file_location('__main__', root / 'tools' / COMMANDS[command][0])
    tool = module_from_spec(spec)
    # As if Python had been started with the tool's file: processes that the tool starts, e.g. by
    # the method 'spawn', read its functions from there.
    tool.__spec__ = None
    sys.modules['__main__'] = tool
    spec.loader.exec_module(tool)


if __name__ == '__main__':
    main()
