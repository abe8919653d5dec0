#!/usr/bin/env python
"""Measures on a GPU what no CPU can show, in one command:

    python tools/benchmarks/gpu.py --out DIR [--budget 420] [--parts PART ...] [--rehearse]

Each part is a process of its own with a time limit. Its rows are written as they come, so neither a
failure nor the end of the budget loses a result. Parts, in this order:

    device      name, clocks, versions; speed of a matrix product and of a copy
    latency     a mask of 1024x1024 pixels by DiffDIS and its light decoders, as released and
                faster: stages, peak memory, operations per second
    training    a step at 1024x1024, batch of 4: the released recipe and this project's options
    profile     the kernels that take most of a mask's time
    compiled    latency with torch.compile and with CUDA graphs
    systems     latency of the other systems
    agreement   masks of all systems on this device in float32, float16 and bfloat16, against the
                CPU's; batches, repetition, edges; synchronisations inside a prediction
    parity      the tests' golden numbers of the released implementations, on this device
    options     short trainings: mixed precision, torch.compile, FSDP

Weights are random, but for the shipped ones; nothing is downloaded. DIR receives gpu.md and
gpu.json, and the log of each part. `--rehearse` runs the same code with small models, on a CPU.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Seconds after which a part is stopped.
LIMITS = {
    'device': 40,
    'latency': 130,
    'training': 130,
    'profile': 60,
    'compiled': 330,
    'systems': 200,
    'agreement': 120,
    'parity': 90,
    'options': 150,
}
FULL = 'diffdis_sd-turbo{}_1xb4-90e_dis5k-1024x1024'
TINY = 'diffdis_tiny_1xb8-1k2_synthetic-dis-384x384'
TINY_128 = 'diffdis_tiny_1xb16-1k2_synthetic-dis-128x128'
HALF = dict(precision='float16', encoder_precision='float16')
FASTEST = dict(HALF, channels_last=True)
GRAPHS = dict(FASTEST, cuda_graphs=True)
REFERENCE = dict(edge=True, tf32=True)  # in all passes of the config's `tta_pipeline`
# (variant, suffix of the full-size config, options of DISInferencer)
VARIANTS = [
    ('mask', '', {}),
    ('reference', '', REFERENCE),
    ('edge', '', dict(edge=True)),
    ('tf32', '', dict(tf32=True)),
    ('float16', '', dict(precision='float16')),
    ('float16_encoder', '', HALF),
    ('float16_encoder, channels_last', '', FASTEST),
    ('float16_encoder, cuDNN benchmark', '', dict(HALF, benchmark=True)),
    ('float16_encoder, channels_last, plain attention', '', dict(FASTEST, plain_attention=True)),
    ('bfloat16, channels_last', '', dict.fromkeys(HALF, 'bfloat16') | dict(channels_last=True)),
    ('float16_encoder, channels_last, CUDA graphs', '', GRAPHS),
    ('TAESD decoder, float16_encoder, channels_last', '_taesd-decoder', FASTEST),
    ('TAESD decoder, float16_encoder, channels_last, CUDA graphs', '_taesd-decoder', GRAPHS),
    ('MaskDecoder, float16_encoder, channels_last', '_mask-decoder', FASTEST),
    ('MaskDecoder, float16_encoder, channels_last, CUDA graphs', '_mask-decoder', GRAPHS),
    ('TAESD, float16_encoder, channels_last', '_taesd', FASTEST),
    ('TAESD, float16_encoder, channels_last, CUDA graphs', '_taesd', GRAPHS),
]
COMPILED = [
    ('compiled', '', dict(FASTEST, compile='default')),
    ('compiled, CUDA graphs', '', dict(GRAPHS, compile='default')),
    ('TAESD, compiled', '_taesd', dict(FASTEST, compile='default')),
    ('TAESD, compiled, CUDA graphs', '_taesd', dict(GRAPHS, compile='default')),
]
SYSTEMS = (
    *('isnet_1xb8_dis5k-1024x1024', 'birefnet_swin-l_1xb4-600e_dis5k-1024x1024'),
    *('birefnet-lite_swin-t_1xb4-600e_dis5k-1024x1024', 'mvanet_swin-b_1xb1-80e_dis5k-1024x1024'),
    *('ben2_swin-b_1xb1-80e_dis5k-1024x1024', 'inspyrenet_swin-b_1xb1-180e_dis5k-1024x1024'),
    *('genpercept_sd21_8xb4-30k_dis5k-1024x1024', 'udun_r50_1xb8-48e_dis5k-1024x1024'),
    *('pgnet_r18-swin-b_2xb8-32e_dis5k-1024x1024', 'bsanet_res2net-50_4xb9-34e_dis5k-1024x1024'),
    *('isdnet_r18-d8_1xb8-80k_dis5k-1024x1024', 'ifa_r50_1xb8-100e_dis5k-1024x1024'),
    *('fpdis_r50_1xb8-100e_dis5k-1024x1024', 'deeplabv3plus_r50-d8_1xb8-80k_dis5k-1024x1024'),
    *('segformer_mit-b2_1xb8-160k_dis5k-1024x1024', 'pidnet-s_1xb12-120k_dis5k-1024x1024'),
    *('u2net_1xb12-600k_dis5k-320x320', 'u2netp_1xb12-600k_dis5k-320x320'),
)
SYSTEM_VARIANTS = dict(
    mask={},
    float16=dict(precision='float16'),
    cuda_graphs=dict(precision='float16', cuda_graphs=True),
)
TRAININGS = (
    *('reference', 'amp', 'amp+fused_optimizer', 'amp+frugal_vae+activation_checkpointing'),
    *('amp+fused_optimizer+latents', 'amp+activation_checkpointing+fused_optimizer+latents'),
    *('float16', 'amp+fused_optimizer+latents+compile'),
)
Emit = Callable[..., None]
_TFLOP: dict[tuple, float] = {}  # counted once per config and size: it takes seconds


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--budget', type=float, default=420, metavar='SECONDS', help='of all parts')
    parser.add_argument('--parts', nargs='+', choices=LIMITS, default=list(LIMITS), metavar='PART')
    parser.add_argument('--only', nargs='+', default=[''], metavar='TEXT', help='in variants')
    parser.add_argument('--rehearse', action='store_true', help='small models, on the CPU')
    parser.add_argument('--device', help="default: 'cuda', and 'cpu' to rehearse")
    parser.add_argument('--in-process', choices=LIMITS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.device = args.device or ('cpu' if args.rehearse else 'cuda')
    return args


def main(argv: list[str] | None = None) -> None:
    """Runs the parts one after another."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    if args.in_process:
        run_part(args)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for part in args.parts:
        left = args.budget - (time.monotonic() - start)
        state = (
            run_process(part, argv, args.out, min(LIMITS[part], left)) if left > 1 else 'no time'
        )
        with (args.out / 'parts.jsonl').open('a') as file:
            seconds = round(time.monotonic() - start, 1)
            file.write(json.dumps(dict(part=part, ended=state, at_s=seconds)) + '\n')
        print(f'{part}: {state}', flush=True)
        write_report(args.out)
    print((args.out / 'gpu.md').read_text())


def run_process(part: str, argv: list[str], out: Path, seconds: float) -> str:
    """Runs a part in a process of its own; returns how it ended."""
    command = [sys.executable, __file__, *argv, '--in-process', part]
    with (out / f'{part}.log').open('w') as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return f'stopped after {seconds:.0f} s'
    return 'complete' if code == 0 else f'exit code {code}, see {part}.log'


def write_report(out: Path) -> None:
    """Writes gpu.json and gpu.md from the rows of all parts."""
    rows = {
        name: [json.loads(line) for line in (out / f'{name}.jsonl').read_text().splitlines()]
        for name in ('parts', *LIMITS)
        if (out / f'{name}.jsonl').exists()
    }
    (out / 'gpu.json').write_text(json.dumps(rows, indent=1) + '\n')
    text = []
    for name, table in rows.items():
        header = list(dict.fromkeys(key for row in table for key in row))
        lines = [[row.get(key, '') for key in header] for row in table]
        text += [f'## {name}', '', _markdown(header, lines), '']
    (out / 'gpu.md').write_text('\n'.join(text))


def _markdown(header: list[str], rows: list[list]) -> str:
    # not mmdiffdis.utils.tables: this process imports nothing that could fail
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)


def run_part(args: argparse.Namespace) -> None:
    """Runs one part in this process."""
    path = args.out / f'{args.in_process}.jsonl'

    def emit(**row) -> None:
        row = {key: round(x, 4) if isinstance(x, float) else x for key, x in row.items()}
        with path.open('a') as file:
            file.write(json.dumps(row) + '\n')
        print(row, flush=True)

    sys.path.insert(0, str(Path(__file__).parent))  # for training.py
    if args.in_process not in ('parity', 'options'):
        import mmdiffdis  # noqa: F401, isort: skip - first, it reports an unsuitable MMEngine

        import torch
        from mmengine.logging import MMLogger

        MMLogger.get_current_instance().setLevel('ERROR')  # otherwise a line per weight
        if args.rehearse:
            torch.set_num_threads(1)
    PARTS[args.in_process](args, emit)


def device(args: argparse.Namespace, emit: Emit) -> None:
    """The device, and its speed."""
    import torch

    from mmdiffdis.apis.benchmarking import describe

    emit(name='software', value=describe(torch.device(args.device), 1, 1, False).split('. ')[0])
    if args.device == 'cpu':
        return
    query = 'name,driver_version,clocks.sm,clocks.mem,memory.total,temperature.gpu,power.limit'
    command = ['nvidia-smi', f'--query-gpu={query}', '--format=csv,noheader']
    emit(name=query, value=subprocess.run(command, capture_output=True, text=True).stdout.strip())
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        x = torch.randn(8192, 8192, device=args.device, dtype=dtype)
        seconds = measure(lambda x=x: x @ x, args.device, 0.3)['median']
        emit(name=f'matrix product, {dtype}, TFLOP/s', value=2 * 8192**3 / seconds / 1e12)
    x = torch.randn(2**29, device=args.device)
    seconds = measure(lambda: x.clone(), args.device, 0.3)['median']
    emit(name='copy, read and written, TB/s', value=2 * x.nbytes / seconds / 1e12)


def measure(function: Callable, device: str, seconds: float) -> dict[str, float]:
    """Returns the seconds of the first call, and median and extremes of those after the second.

    It goes on for `seconds`, and up to three times as long to make four calls.
    """
    from mmdiffdis.utils.stopwatch import Stopwatch

    watch = Stopwatch(device)
    with watch.time('call'):
        function()
    start, elapsed = watch.now(), 0.0
    while elapsed < seconds or (elapsed < 3 * seconds and len(watch.seconds['call']) < 4):
        with watch.time('call'):
            function()
        elapsed = watch.now() - start
    first, *calls = watch.seconds['call']
    calls = calls[1:] or calls or [first]
    return dict(first=first, median=statistics.median(calls), low=min(calls), high=max(calls))


def latency(args: argparse.Namespace, emit: Emit) -> None:
    """DiffDIS in its variants, not compiled."""
    for variant, suffix, options in VARIANTS:
        if any(text in variant for text in args.only):
            config = TINY if args.rehearse else FULL.format(suffix)
            batches = [1, 8] if 'channels_last' in variant else [1]
            attempt(emit, variant, measure_model, args, emit, config, variant, options, batches)


def compiled(args: argparse.Namespace, emit: Emit) -> None:
    """DiffDIS compiled, launched and as CUDA graphs; the first call compiles."""
    for variant, suffix, options in COMPILED:
        if any(text in variant for text in args.only):
            config = TINY if args.rehearse else FULL.format(suffix)
            attempt(emit, variant, measure_model, args, emit, config, variant, options, [1])


def systems(args: argparse.Namespace, emit: Emit) -> None:
    """The other systems, in float32, in float16 and as CUDA graphs."""
    configs = SYSTEMS if not args.rehearse else ['u2netp_1xb12-600k_dis5k-320x320']
    for variant, options in SYSTEM_VARIANTS.items():
        for config in configs:
            name = f'{config}, {variant}'
            if any(text in name for text in args.only):
                attempt(emit, name, measure_model, args, emit, config, variant, options, [1])


def attempt(emit: Emit, name: str, function: Callable, *args) -> None:
    """Calls a function; a failure becomes a row."""
    import gc
    import traceback

    import torch

    try:
        function(*args)
    except Exception as error:
        traceback.print_exc()
        emit(variant=name, failed=f'{type(error).__name__}: {str(error)[:200]}')
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def load(
    config: str,
    device: str,
    variant: str = '',
    plain_attention: bool = False,
    benchmark: bool = False,
    **options,
):
    """Returns an inferencer with random weights, drawn on the device, and its config."""
    from unittest.mock import patch

    import torch
    from mmengine.config import ConfigDict

    from mmdiffdis.apis.benchmarking import use_tta, without_files
    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.apis.flops import EmptyOn
    from mmdiffdis.apis.inference import DISInferencer

    torch.backends.cudnn.benchmark = benchmark
    config = load_config(config)
    config.model = ConfigDict(without_files(config.model))
    torch.manual_seed(0)
    # The constructors' weights will do: MMEngine's initialisation logs each, for seconds.
    with EmptyOn(device), patch('mmengine.model.BaseModule.init_weights'):
        inferencer = DISInferencer(config, None, device, **options)
    if variant == 'reference':
        use_tta(inferencer, config)
    if plain_attention:
        use_plain_attention(inferencer.model)
    return inferencer, config


def use_plain_attention(model) -> None:
    """Lets heads too wide for flash attention (the VAE's) compute it by matrix products."""
    from diffusers.models.attention_processor import Attention, AttnProcessor

    for module in model.modules():
        if isinstance(module, Attention) and module.inner_dim // module.heads > 256:
            module.set_processor(AttnProcessor())


def measure_model(
    args: argparse.Namespace,
    emit: Emit,
    config_name: str,
    variant: str,
    options: dict,
    batches: list[int],
) -> None:
    """Measures `DISInferencer.predict`: from the network's input on the CPU to the mask there."""
    import torch

    from mmdiffdis.apis.benchmarking import Candidate
    from mmdiffdis.apis.configs import with_test_options
    from mmdiffdis.apis.flops import build_on_meta, count_cost
    from mmdiffdis.utils.stopwatch import Stopwatch

    if args.rehearse:  # half precision takes a CPU a hundred times as long
        options = {key: x for key, x in options.items() if not key.endswith('precision')}
        options.pop('cuda_graphs', None)
    inferencer, config = load(config_name, args.device, variant, **options)
    prepared = inferencer.prepare(photograph(args), 'photograph')
    inputs = prepared.packed['inputs']
    passes = inputs if isinstance(inputs, list) else [inputs]
    edge = options.get('edge', False)
    key = config_name, edge, str([x.shape for x in passes])
    if key not in _TFLOP and config_name not in SYSTEMS:  # theirs are in docs/baselines.md
        on_meta = build_on_meta(with_test_options(config.model, edge))
        costs = [count_cost(on_meta, tuple(x.shape[-2:])) for x in passes]
        _TFLOP[key] = sum(cost.total_flop for cost in costs) / 1e12
    for batch in batches:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        images = [prepared] * batch
        seconds = 0 if args.rehearse else 1
        times = measure(lambda x=images: inferencer.predict(x), args.device, seconds)
        row = dict(config=config_name.split('_1xb')[0], variant=variant, batch=batch)
        row |= {f'{name}_ms': 1000 * times[name] / batch for name in ('median', 'low', 'high')}
        row |= dict(first_s=times['first'])
        if key in _TFLOP:
            row |= dict(tflop=_TFLOP[key], tflop_per_s=_TFLOP[key] * batch / times['median'])
        if torch.cuda.is_available():
            row['peak_gib'] = torch.cuda.max_memory_allocated() / 2**30
        emit(**row)
    if variant == 'reference' or options.keys() & {'compile', 'cuda_graphs'}:
        return
    row = dict(config=config_name.split('_1xb')[0], variant=f'{variant}: parts')
    watch = Stopwatch(args.device)  # it waits for the device
    Candidate(variant, config_name, inferencer, watch).time_stages()
    for _ in range(3):
        watch.seconds.clear()
        inferencer.predict([prepared])
    stages = {stage: sum(seconds) for stage, seconds in watch.seconds.items()}
    emit(**row, **{f'{stage}_ms': 1000 * seconds for stage, seconds in stages.items()})


def photograph(args: argparse.Namespace):
    """Returns a photograph of 1024x1024 pixels, uint8 RGB."""
    import cv2
    import skimage

    side = 256 if args.rehearse else 1024
    return cv2.resize(skimage.data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)


def training(args: argparse.Namespace, emit: Emit) -> None:
    """Steps of training, by tools/benchmarks/training.py."""
    import tempfile

    import cv2
    from mmengine.registry import init_default_scope
    from training import PARTS as STEPS
    from training import load_variant, run_round, write_pairs

    cv2.setNumThreads(0)
    init_default_scope('mmseg')
    config, side, batch, variants = FULL.format(''), 1024, 4, TRAININGS
    if args.rehearse:
        config, side, batch = TINY_128, 64, 2
        variants = [v for v in variants if 'float16' not in v and 'compile' not in v]
    settings = argparse.Namespace(device=args.device, steps=3, batch_size=batch)
    steps: dict[str, float] = {}

    def measure_step(variant: str) -> None:
        result = run_round(load_variant(config, variant, side), Path(folder), settings)
        steps[variant] = sum(result[part] for part in STEPS[1:])
        row = {f'{part}_s': result[part] for part in STEPS}
        row |= dict(step_s=steps[variant], images_per_s=batch / steps[variant])
        row['times_faster'] = steps.get('reference', float('nan')) / steps[variant]
        emit(variant=variant, **row, peak_gib=result.get('peak_gib'))

    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder), side, batch)
        for variant in variants:
            attempt(emit, variant, measure_step, variant)


def profile(args: argparse.Namespace, emit: Emit) -> None:
    """The kernels of a mask in the fastest precision, by their share of the time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    options = {} if args.rehearse else dict(FASTEST)
    inferencer, _ = load(TINY if args.rehearse else FULL.format(''), args.device, **options)
    prepared = inferencer.prepare(photograph(args), 'photograph')
    for _ in range(3):
        inferencer.predict([prepared])
    on_gpu = args.device != 'cpu'
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with record(activities=activities, record_shapes=True) as profiler:
        inferencer.predict([prepared])
    attribute = 'self_device_time_total' if on_gpu else 'self_cpu_time_total'
    table = profiler.key_averages()
    if on_gpu:  # operators, and the kernels that they start, are both listed
        table = [event for event in table if event.device_type.name == 'CUDA']
    events = [(getattr(event, attribute), event.key, event.count) for event in table]
    total = sum(microseconds for microseconds, _, _ in events)
    emit(kernel='all', ms=total / 1000, share=1.0, calls=sum(event[2] for event in events))
    for microseconds, name, calls in sorted(events, reverse=True)[:15]:
        name = name.replace('void at::native::', '').replace('at::native::', '')
        emit(kernel=name[:300], ms=microseconds / 1000, share=microseconds / total, calls=calls)
    if on_gpu:
        table = profiler.key_averages(group_by_input_shape=True)
        events = [(e.self_device_time_total, e.key, str(e.input_shapes), e.count) for e in table]
        for microseconds, name, shapes, calls in sorted(events, reverse=True)[:40]:
            if name.startswith('aten::'):
                share = microseconds / total
                emit(
                    kernel=f'{name} {shapes[:120]}',
                    ms=microseconds / 1000,
                    share=share,
                    calls=calls,
                )


def agreement(args: argparse.Namespace, emit: Emit) -> None:
    """Masks of this device against those of the CPU in float32."""
    pattern = '*_small_1xb16-1k2_synthetic-dis-128x128.py'
    names = sorted(path.stem for path in (ROOT / 'configs').glob(f'*/{pattern}'))
    names += ['genpercept_tiny_1xb16-1k2_synthetic-dis-128x128', TINY_128]
    models = [(name, None) for name in names if 'gt-encoder' not in name]
    models += [(TINY, 'mmdiffdis://diffdis_tiny')]
    models += [('u2netp_1xb12-600k_dis5k-320x320', 'mmdiffdis://u2netp')]
    if args.rehearse:
        models = models[-3:-1]
    for name, checkpoint in models:
        attempt(emit, name, compare_devices, args, emit, name, checkpoint)
    attempt(emit, 'predictions', compare_predictions, args, emit)


def compare_devices(
    args: argparse.Namespace, emit: Emit, name: str, checkpoint: str | None
) -> None:
    """Compares a model on this device with itself on the CPU, on three photographs."""
    import numpy as np
    import skimage
    import torch

    from mmdiffdis.apis.inference import DISInferencer

    images = [getattr(skimage.data, image)() for image in ('astronaut', 'chelsea', 'coffee')]

    def masks(device: str, **options) -> np.ndarray:
        torch.manual_seed(0)  # random weights, drawn on the CPU, are the same
        inferencer = DISInferencer(name, checkpoint, device, **options)
        return np.concatenate([inferencer(x, 'photograph').mask.ravel() for x in images])

    expected = masks('cpu')
    row = dict(config=name, deviation=float(expected.std()))
    for precision in ('float32', 'float16', 'bfloat16'):
        if args.device == 'cpu' and precision == 'float16':
            continue  # takes a hundred times as long
        options = {} if precision == 'float32' else dict(precision=precision)
        try:
            difference = np.abs(masks(args.device, **options) - expected)
        except Exception as error:
            row[f'{precision}_failed'] = f'{type(error).__name__}: {str(error)[:120]}'
            continue
        row[f'{precision}_max'] = float(f'{difference.max():.3g}')
        row[f'{precision}_999'] = float(f'{np.quantile(difference, 0.999):.3g}')
    emit(**{key: str(x) if isinstance(x, float) else x for key, x in row.items()})


def compare_predictions(args: argparse.Namespace, emit: Emit) -> None:
    """Compares predictions of the shipped model among themselves, on this device."""
    import warnings

    import numpy as np
    import skimage
    import torch

    from mmdiffdis.apis.inference import DISInferencer

    image = skimage.data.astronaut()
    for precision in ('float32', 'float16') if args.device != 'cpu' else ('float32',):
        options = dict(device=args.device, precision=precision)
        inferencer = DISInferencer(TINY, 'mmdiffdis://diffdis_tiny', **options)
        channels_last = DISInferencer(
            TINY, 'mmdiffdis://diffdis_tiny', channels_last=True, **options
        )
        graphs = DISInferencer(
            TINY, 'mmdiffdis://diffdis_tiny', cuda_graphs=args.device != 'cpu', **options
        )
        with_edge = DISInferencer(TINY, 'mmdiffdis://diffdis_tiny', edge=True, **options)
        mask = inferencer(image).mask
        batch = [result.mask for result in inferencer([image] * 4, batch_size=4, stem='image')]
        others = {
            'again': inferencer(image).mask,
            'with the edge': with_edge(image).mask,
            'channels_last': channels_last(image).mask,
            'CUDA graphs': graphs(image).mask,
            'CUDA graphs, again': graphs(image).mask,
            'batch of 4': batch[0],
            'last of a batch of 4': batch[-1],
        }
        for name, other in others.items():
            emit(config=f'{precision}, {name}', float32_max=str(np.abs(other - mask).max()))
        if args.device == 'cpu':
            continue
        prepared = inferencer.prepare(image)
        torch.cuda.set_sync_debug_mode('warn')
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            inferencer.predict([prepared])
        torch.cuda.set_sync_debug_mode('default')
        texts = [
            f'{Path(w.filename).name}:{w.lineno}' for w in caught if 'synchron' in str(w.message)
        ]
        emit(config=f'{precision}, synchronisations: {len(texts)}', float32_max=', '.join(texts))


def parity(args: argparse.Namespace, emit: Emit) -> None:
    """The golden numbers, by the tests."""
    tests = ['tests/test_models/test_diffdis/test_parity.py']
    if not args.rehearse:
        tests.append('tests/test_models/test_baselines')
    command = [sys.executable, '-m', 'pytest', '-o', 'addopts=', '-rf', '-k', 'released']
    command += ['-p', 'no:cacheprovider']
    environment = dict(os.environ, MMDIFFDIS_TEST_DEVICE=args.device)
    run = subprocess.run(
        [*command, *tests], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    print(run.stdout[-20000:], run.stderr[-2000:])
    for line in run.stdout.splitlines():
        if line.startswith(('FAILED', 'ERROR')) or ' passed' in line or ' failed' in line:
            emit(result=line[:300])


def options(args: argparse.Namespace, emit: Emit) -> None:
    """Short trainings of the tiny model on synthetic images, by tools/train.py."""
    data = args.out.resolve() / 'options_data'
    command = [sys.executable, ROOT / 'tools/dataset_converters/synthetic_dis.py', '--out', data]
    subprocess.run([*command, '--num-train', '32', '--num-val', '8'], check=True)
    train = [ROOT / 'tools/train.py', TINY_128]
    single = [sys.executable, *train]
    distributed = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '1', *train]
    distributed += ['--launcher', 'pytorch']
    trainings = {
        'float32': single,
        '--amp': [*single, '--amp'],
        '--amp, ema, fused_optimizer, activation_checkpointing': [
            *(*single, '--amp', '--with', 'ema', 'fused_optimizer', 'activation_checkpointing'),
        ],
        'float16': [*single, '--with', 'float16'],
        'fsdp': [*distributed, '--amp', '--with', 'fsdp'],
        'adamw8bit': [*single, '--with', 'adamw8bit'],
        'compile': [*single, '--amp', '--with', 'compile'],
    }
    for index, (name, command) in enumerate(trainings.items()):
        if args.rehearse and index > 0:
            break
        changes = [f'{loader}_dataloader.dataset.data_root={data}' for loader in ('train', 'val')]
        changes += ['train_cfg.max_iters=6', 'train_cfg.val_interval=6']
        changes += ['train_dataloader.batch_size=2', 'default_hooks.logger.interval=1']
        folder = args.out.resolve() / f'options_{index}'
        start = time.monotonic()
        run = subprocess.run(
            [*command, '--work-dir', folder, '--cfg-options', *changes],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(f'=== {name}\n{run.stdout[-6000:]}', flush=True)
        losses = [line for line in run.stdout.splitlines() if ' loss: ' in line]
        last = losses[-1].split(' loss: ')[1].split()[0] if losses else ''
        seconds = time.monotonic() - start
        emit(training=name, exit_code=run.returncode, last_loss=last, seconds=seconds)


PARTS = dict(
    device=device,
    latency=latency,
    training=training,
    profile=profile,
    compiled=compiled,
    systems=systems,
    agreement=agreement,
    parity=parity,
    options=options,
)

if __name__ == '__main__':
    main()
