"""The web page: masks and cut-outs of images that people drop on it."""

import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import gradio as gr
import numpy as np
from PIL import Image

from ..apis.decoding import IMAGE_ERRORS, reason
from ..apis.inference import DISInferencer
from ..apis.inputs import name_results
from ..apis.results import DISResult
from ..images.finishing import finish, save
from ..images.options import BLUR, ResultOptions
from .models import check_image

THEME = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace'])
_MOST_IMAGES = 100
_KEPT_SECONDS = 3600
_PREVIEW_SIDE = 1600
_SQUARE = 10  # pixels of the chequered ground that stands for transparency
_BACKGROUNDS = ('transparent', 'blurred', 'colour', 'image')


@dataclass(frozen=True)
class _Results:
    """Files of one run.

    Attributes:
        folder: Folder of `before`, `after`, `masks` and `cutouts`, with a file of each name.
        names: File names without suffix.
    """

    folder: Path
    names: list[str]

    def remove(self) -> None:
        """Removes the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def make_page(models: dict[str, DISInferencer], max_pixels: int) -> gr.Blocks:
    """Returns the page.

    Args:
        models: Name -> model; the first is the default.
        max_pixels: Largest number of pixels of an image.
    """

    def predict(
        files: list[str] | None,
        model: str,
        background: str,
        colour: str,
        picture: str | None,
        earlier: _Results | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008, where gradio looks for it
    ) -> tuple:
        paths = [Path(file) for file in dict.fromkeys(files or ())]
        if not 0 < len(paths) <= _MOST_IMAGES:
            raise gr.Error(f'{len(paths)} images: expected 1 to {_MOST_IMAGES}.')
        options = _cutout_options(background, colour, picture, max_pixels)
        if earlier:
            earlier.remove()
        results = _Results(Path(mkdtemp(prefix='results-', dir=page.GRADIO_CACHE)), [])
        names = [path.stem for path in name_results(paths, results.folder)]
        notes = []
        for path, name in zip(progress.tqdm(paths, unit='images'), names, strict=True):
            try:
                check_image(path, max_pixels)
                result = models[model](path)
                _write(result, options, results.folder, name)
            except IMAGE_ERRORS as error:
                notes.append(reason(error).replace(f'{path.parent}/', ''))
                continue
            results.names.append(name)
            if result.is_empty:
                notes.append(f'nothing was found in {path.name}')
        if not results.names:
            results.remove()
            raise gr.Error('; '.join(notes))
        for note in notes:
            gr.Warning(note)
        shown = [(results.folder / 'after' / f'{name}.webp', name) for name in results.names]
        return (
            results,
            gr.Gallery(shown, visible=len(shown) > 1),
            gr.DownloadButton(value=_pack(results.folder), interactive=True),
            *show(results, 0),
        )

    def show(results: _Results, index: int) -> tuple:
        name = results.names[index]
        before, after = (results.folder / kind / f'{name}.webp' for kind in ('before', 'after'))
        mask, cutout = (results.folder / kind / f'{name}.png' for kind in ('masks', 'cutouts'))
        return (before, after), mask, gr.DownloadButton(value=cutout, interactive=True)

    def show_selected(results: _Results, event: gr.SelectData) -> tuple:
        return show(results, event.index)

    def show_background(background: str) -> tuple:
        return gr.ColorPicker(visible=background == 'colour'), gr.File(
            visible=background == 'image'
        )

    with gr.Blocks(
        title='mmdiffdis', analytics_enabled=False, delete_cache=(_KEPT_SECONDS // 4, _KEPT_SECONDS)
    ) as page:
        gr.Markdown('# Cut out the foreground\nDrop images, and slide between image and cut-out.')
        with gr.Row():
            with gr.Column(scale=1):
                files = gr.File(label='Images', file_count='multiple', height=220, elem_id='images')
                model = gr.Dropdown(list(models), label='Model')
                background = gr.Radio(list(_BACKGROUNDS), value=_BACKGROUNDS[0], label='Background')
                colour = gr.ColorPicker('#ffffff', label='Colour', visible=False)
                picture = gr.File(label='Background image', visible=False, elem_id='background')
                button = gr.Button('Cut out', variant='primary')
            with gr.Column(scale=2):
                slider = gr.ImageSlider(
                    label='Image and cut-out',
                    type='filepath',
                    interactive=False,
                    buttons=['fullscreen'],
                    elem_id='slider',
                )
                gallery = gr.Gallery(
                    elem_id='cutouts',
                    label='Cut-outs',
                    columns=5,
                    height=160,
                    visible=False,
                    allow_preview=False,
                    object_fit='contain',
                    buttons=[],
                )
                with gr.Row():
                    png = gr.DownloadButton('Download PNG', interactive=False)
                    archive = gr.DownloadButton('Download all as ZIP', interactive=False)
                mask = gr.Image(
                    label='Mask',
                    type='filepath',
                    interactive=False,
                    height=320,
                    buttons=['download', 'fullscreen'],
                )
        results = gr.State(
            None, time_to_live=_KEPT_SECONDS, delete_callback=lambda state: state and state.remove()
        )
        shown = [slider, mask, png]
        background.change(show_background, background, [colour, picture], api_visibility='private')
        button.click(
            predict,
            [files, model, background, colour, picture, results],
            [results, gallery, archive, *shown],
            api_visibility='private',
        )
        gallery.select(show_selected, results, shown, api_visibility='private')
    return page


def _cutout_options(
    background: str, colour: str, picture: str | None, max_pixels: int
) -> ResultOptions:
    """Returns the options of cut-outs on a background, one of `_BACKGROUNDS`."""
    try:
        if background == 'image':
            if picture is None:
                raise ValueError('there is no background image: drop one, or choose another')
            check_image(Path(picture), max_pixels)
        levels = re.findall(r'[\d.]+', colour)[:3] if colour.startswith('rgba') else None
        if levels:  # of the page's colour picker, with fractions
            colour = 'rgb({}, {}, {})'.format(*(round(float(level)) for level in levels))
        chosen = {'transparent': None, 'blurred': BLUR, 'colour': colour, 'image': picture}
        return ResultOptions('cutout', background=chosen[background])
    except (OSError, ValueError) as error:
        raise gr.Error(reason(error).replace(f'{Path(picture or "").parent}/', '')) from error


def _write(result: DISResult, options: ResultOptions, folder: Path, name: str) -> None:
    """Writes the files of a result."""
    cutout = finish(result.image, result.mask, options, result.opacity)
    mask = finish(result.image, result.mask, ResultOptions('mask'))
    files = {'cutouts': cutout, 'masks': mask}
    for kind, image in files.items():
        (folder / kind).mkdir(exist_ok=True)
        save(image, folder / kind / f'{name}.png', options, result.metadata)
    for kind, image in {'before': Image.fromarray(result.image), 'after': cutout}.items():
        (folder / kind).mkdir(exist_ok=True)
        image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
        if image.mode == 'RGBA':
            image = Image.alpha_composite(_chequered(image.size), image)
        image.convert('RGB').save(folder / kind / f'{name}.webp', quality=90)


def _chequered(size: tuple[int, int]) -> Image.Image:
    rows, columns = np.ogrid[: size[1], : size[0]]
    light = (rows // _SQUARE + columns // _SQUARE) % 2
    return Image.fromarray(np.uint8(225 + 30 * light)).convert('RGBA')


def _pack(folder: Path) -> Path:
    """Returns an archive of cut-outs and masks."""
    path = folder / 'cutouts.zip'
    with zipfile.ZipFile(path, 'w') as archive:  # PNGs do not get smaller
        for kind in ('cutouts', 'masks'):
            for file in sorted((folder / kind).iterdir()):
                archive.write(file, f'{kind}/{file.name}')
    return path
