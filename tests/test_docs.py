"""Links of the documentation, and the Chinese README, which says what the English one says."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

FOLDERS = ('.', 'docs', 'configs/*', 'tools/*', 'mmdiffdis/weights')
PAGES = sorted(path for folder in FOLDERS for path in ROOT.glob(f'{folder}/*.md'))
FENCED = re.compile(r'^```.*?^```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^)\s]+)\)')
NUMBER = re.compile(r'\d+(?:\.\d+)?(?:e-?\d+)?')


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.+)$', FENCED.sub('', page.read_text()), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-') for text in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCED.sub('', page.read_text())):
        if re.match(r'https?://', link):
            continue
        name, _, anchor = link.partition('#')
        target = page.parent / name if name else page
        assert target.exists(), link
        shown = target / 'README.md' if target.is_dir() else target
        assert not anchor or anchor in anchors(shown), link


def blocks(page: str) -> list[str]:
    """The parts of a page between empty lines; code without its comments."""
    text = (ROOT / page).read_text()
    fenced = [re.sub(r'\s*#.*', '', code) for code in FENCED.findall(text)]
    return [*re.split(r'\n{2,}', FENCED.sub('', text).strip()), *fenced]


def content(block: str) -> tuple:
    """Returns the parts that a translation keeps: the block's kind, code, links and numbers."""
    if block.startswith('```'):
        return ('code', block)
    links = [re.sub('^#.*', '#', link) for link in LINK.findall(block)]  # headings are translated
    links = [link.replace('README_zh-CN.md', 'README.md') for link in links]
    rows = block.splitlines() if block.startswith('|') else [block]
    kind = re.match(r'#+ |\| |- |!\[|', block)[0]
    numbers = [sorted(NUMBER.findall(LINK.sub('', row))) for row in rows]
    return kind, sorted(links), sorted(re.findall(r'`([^`]+)`', block)), numbers


def test_chinese_readme_has_the_blocks_links_code_and_numbers_of_the_english_one():
    english, chinese = blocks('README.md'), blocks('README_zh-CN.md')
    for block, translated in zip(english, chinese, strict=True):
        assert content(translated) == content(block), translated
    assert re.search('[一-鿿]', chinese[1])
