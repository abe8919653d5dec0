"""Pages of the site, for mkdocs: the repository's Markdown at its own paths, and the API.

So that links are the same on the site and in the repository, pages keep their paths, what they link
to is part of the site, and a link to a folder leads to its README.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = ('*.md', 'docs/*.md', 'configs/**/*.md', 'tools/**/*.md', 'mmdiffdis/weights/*.md')
ROOMS = sorted(path.parent.name for path in (ROOT / 'mmdiffdis').glob('*/__init__.py'))
_LINK = re.compile(r'(?<=\]\()(?!\w+:)([^)#\s]+)')


class Examples(griffe.Extension):
    """Makes code of the examples in docstrings, which griffe knows under another title."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        """Changes the titles in the docstring of an object."""
        if obj.docstring:
            text = re.sub(r'^Example:$', 'Examples:', obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r'^Example::$', '**Example**', text, flags=re.MULTILINE)


def _pages() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in PAGES for path in ROOT.glob(pattern))


def _linked_files(page: str) -> Iterator[str]:
    for link in _LINK.findall((ROOT / page).read_text(encoding='utf-8')):
        path = (ROOT / page).parent.joinpath(link).resolve()
        if path.is_file():
            yield str(path.relative_to(ROOT))


def _api(room: str) -> str:
    """Returns a page of the modules in a folder of the package."""
    folder = ROOT / 'mmdiffdis' / room
    modules = [path for path in sorted(folder.rglob('*.py')) if path.stem != '__init__']
    names = ['.'.join(path.relative_to(ROOT).with_suffix('').parts) for path in modules]
    package = f'::: mmdiffdis.{room}\n    options: {{members: [], show_root_heading: false}}'
    return '\n\n'.join([f'# mmdiffdis.{room}', package, *(f'::: {name}' for name in names)])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Orders the guide as README.md does."""
    _, _, listed = (ROOT / 'README.md').read_text(encoding='utf-8').partition('## Documentation')
    guide = [*dict.fromkeys(re.findall(r'docs/\w+\.md', listed))]
    models = [page for page in _pages() if page.startswith('configs/')]
    homes = [{'Home': 'README.md'}, {'中文': 'README_zh-CN.md'}]
    others = [page for page in _pages() if not page.startswith(('README', 'configs/', 'docs/'))]
    config.nav = [
        *homes,
        {'Guide': guide},
        {'Models': models},
        {'API': [{room: f'api/{room}.md'} for room in ROOMS]},
        {'Project': others},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replaces the files of docs/ by those of the repository, and adds the API."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    pages = _pages()
    paths = dict.fromkeys([*pages, *(path for page in pages for path in _linked_files(page))])
    return Files(
        [
            *theme,
            *(File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in paths),
            *(File.generated(config, f'api/{room}.md', content=_api(room)) for room in ROOMS),
        ]
    )


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lets links to folders lead to their READMEs."""

    def to_readme(link: re.Match) -> str:
        folder = (ROOT / page.file.src_uri).parent / link[1]
        return f'{link[1].rstrip("/")}/README.md' if folder.is_dir() else link[1]

    return _LINK.sub(to_readme, markdown)
