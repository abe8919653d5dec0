"""Tables of figures, for reports."""

from collections.abc import Iterable, Sequence


def markdown(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A Markdown table; columns after the first two, figures as a rule, are aligned to the right.

    Example:
        >>> print(markdown(['model', 'MAE'], [['a', 0.1]]))
        | model | MAE |
        |---|---|
        | a | 0.1 |
    """
    rule = ['---' if i < 2 else '---:' for i in range(len(header))]
    lines = [f'|{"|".join(rule)}|']
    lines += [f'| {" | ".join(map(str, cells))} |' for cells in rows]
    return '\n'.join([f'| {" | ".join(header)} |', *lines])
