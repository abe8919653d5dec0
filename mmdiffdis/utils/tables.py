"""Tables of scores in Markdown and LaTeX."""

from collections.abc import Iterable, Sequence


def markdown(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Returns a Markdown table; the first two columns are left-aligned, the others right-aligned.

    Vertical bars in cells are escaped.

    Example:
        >>> print(markdown(['model', 'MAE'], [['a', 0.1]]))
        | model | MAE |
        |---|---|
        | a | 0.1 |
    """
    rule = ['---' if i < 2 else '---:' for i in range(len(header))]
    lines = [f'|{"|".join(rule)}|']
    for cells in rows:
        escaped = (str(cell).replace('|', r'\|') for cell in cells)
        lines.append(f'| {" | ".join(escaped)} |')
    return '\n'.join([f'| {" | ".join(header)} |', *lines])


def format_scores(
    scores: Sequence[float], decimals: int, lower_is_better: bool, bold: str
) -> list[str]:
    """Returns the scores of a column as text, with the best of several in bold.

    All scores that round to the best one are bold.

    Args:
        scores: Scores of the rows.
        decimals: Number of decimals.
        lower_is_better: Whether the lowest score is the best.
        bold: Format of the best, e.g. `'**{}**'`.

    Example:
        >>> format_scores([0.104, 0.2, 0.1], 2, lower_is_better=True, bold='**{}**')
        ['**0.10**', '0.20', '**0.10**']
    """
    texts = [f'{score:.{decimals}f}' for score in scores]
    best = (min if lower_is_better else max)(texts, key=float)
    return [bold.format(text) if text == best and len(texts) > 1 else text for text in texts]


def latex(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Returns a LaTeX `tabular` with the rules of the booktabs package.

    Args:
        header: Titles of the columns, in LaTeX.
        rows: Cells, in LaTeX; see `latex_text`.
    """
    lines = [' & '.join(map(str, cells)) + r' \\' for cells in (header, *rows)]
    return '\n'.join(
        [
            rf'\begin{{tabular}}{{l{"r" * (len(header) - 1)}}}',
            r'\toprule',
            lines[0],
            r'\midrule',
            *lines[1:],
            r'\bottomrule',
            r'\end{tabular}',
        ]
    )


def latex_text(text: str) -> str:
    r"""Returns plain text escaped for LaTeX.

    Example:
        >>> print(latex_text('50% of a_b'))
        50\% of a\_b
    """
    special = {'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}'}
    special |= {character: f'\\{character}' for character in '&%$#_{}'}
    return ''.join(special.get(character, character) for character in text)
