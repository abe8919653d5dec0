"""tools/deployment/web.py in Chromium: upload, wait, download."""

import io
import shutil
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import load_tool
from helpers import serving
from PIL import Image
from skimage import data

sync_api = pytest.importorskip('playwright.sync_api')
pytest.importorskip('gradio')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='there is no Chromium'),
]
PATIENCE = 120_000  # milliseconds


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> list[Path]:
    """Ten photographs, of different sizes."""
    folder = tmp_path_factory.mktemp('photos')
    paths = [folder / f'{number}.png' for number in range(10)]
    for number, path in enumerate(paths):
        Image.fromarray(data.astronaut()).crop((60, 0, 300 + 5 * number, 240)).save(path)
    return paths


@pytest.fixture(scope='module')
def predicted(photos, tmp_path_factory) -> Path:
    """The folder of their cut-outs, by the tool predict."""
    out = tmp_path_factory.mktemp('out')
    command = [*map(str, photos), '--out', str(out), '--type', 'cutout', '--device', 'cpu']
    assert load_tool('predict.py').main(command) == 0
    return out


@pytest.fixture(scope='module')
def page(tmp_path_factory) -> Iterator['sync_api.Page']:
    """The page in a browser. It asks no other server for anything."""
    asked = []
    folder = tmp_path_factory.mktemp('web')
    with (
        serving('deployment/web.py', '--upload', 1, log=folder / 'log') as (process, address),
        sync_api.sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        page = browser.new_page(viewport={'width': 1280, 'height': 1000})
        page.set_default_timeout(PATIENCE)
        page.on('request', lambda request: asked.append(urlsplit(request.url).netloc))
        page.goto(address)
        yield page
        browser.close()
        assert {place for place in asked if place} == {urlsplit(address).netloc}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert list(folder.iterdir()) == [folder / 'log']


def cut_out(page: 'sync_api.Page', *files: Path) -> None:
    """Drops files on a fresh page, and presses the button."""
    page.reload()
    page.set_input_files('#images input[type=file]', files)
    page.locator(f'td[aria-label="{files[-1].name}"]').wait_for()
    page.get_by_role('button', name='Cut out', exact=True).click()


def download(page: 'sync_api.Page', button: str) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_text(button).click()
    return Path(waiting.value.path()).read_bytes()


def test_cutout_is_that_of_predict(page, photos, predicted):
    cut_out(page, photos[0])
    page.locator('#slider img').first.wait_for()
    assert download(page, 'Download PNG') == (predicted / '0.png').read_bytes()


def test_background(page, photos, predicted):
    page.reload()
    page.get_by_label('colour').check()
    page.get_by_label('Colour').wait_for()
    page.set_input_files('#images input[type=file]', photos[0])
    page.locator('td[aria-label="0.png"]').wait_for()
    page.get_by_role('button', name='Cut out', exact=True).click()
    page.locator('#slider img').first.wait_for()
    cutout = Image.open(io.BytesIO(download(page, 'Download PNG')))
    transparent = Image.open(predicted / '0.png')
    white = Image.alpha_composite(Image.new('RGBA', transparent.size, 'white'), transparent)
    np.testing.assert_array_equal(np.array(cutout), np.array(white.convert('RGB')))


def test_ten_at_once(page, photos, predicted):
    cut_out(page, *photos)
    page.locator('#slider img').first.wait_for()
    archive = zipfile.ZipFile(io.BytesIO(download(page, 'as ZIP')))
    assert len(archive.namelist()) == 20
    for path in photos:
        assert archive.read(f'cutouts/{path.name}') == (predicted / path.name).read_bytes()
    page.locator('#cutouts button').nth(7).click()
    page.wait_for_function("document.querySelector('#slider img').src.includes('7.webp')")
    assert download(page, 'Download PNG') == (predicted / '7.png').read_bytes()


def test_broken_and_too_large_files_are_named(page, photos, predicted, tmp_path):
    broken, large = tmp_path / 'broken.png', tmp_path / 'large.png'
    broken.write_bytes(photos[0].read_bytes()[:-100])
    cut_out(page, broken, photos[1])
    page.get_by_text("cannot read 'broken.png'").wait_for()
    assert download(page, 'Download PNG') == (predicted / '1.png').read_bytes()

    cut_out(page, broken)
    page.get_by_text("cannot read 'broken.png'").wait_for()

    large.write_bytes(bytes(2_000_000))
    page.reload()
    page.set_input_files('#images input[type=file]', large)
    page.get_by_text('exceed the maximum allowed size').wait_for()
