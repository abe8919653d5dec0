"""Tables of figures, for reports."""

from collections.abc import Iterable, Sequence


def markdown(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A Markdown table; columns after the first two, figures as a rule, are aligned to the right.

    What would end a cell is escaped.

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


def figures_as_text(figures: Sequence[float], decimals: int, lower: bool, bold: str) -> list[str]:
    """One column's figures, the best of several in bold; what is printed alike shares it.

    Args:
        figures: of the column's rows.
        decimals: how many to print.
        lower: whether less is better.
        bold: format of the best, e.g. ``'**{}**'``.

    Example:
        >>> figures_as_text([0.104, 0.2, 0.1], 2, lower=True, bold='**{}**')
        ['**0.10**', '0.20', '**0.10**']
    """
    texts = [f'{figure:.{decimals}f}' for figure in figures]
    best = (min if lower else max)(texts, key=float)
    return [bold.format(text) if text == best and len(texts) > 1 else text for text in texts]


def latex(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A LaTeX ``tabular`` with the rules of the booktabs package; cells are LaTeX already."""
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
    """Plain text as LaTeX."""
    special = {'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}'}
    special |= {character: f'\\{character}' for character in '&%$#_{}'}
    return ''.join(special.get(character, character) for character in text)
