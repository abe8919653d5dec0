"""Tables of scores."""

from mmdiffdis.utils.tables import format_scores, latex, latex_text, markdown


def test_best_scores_of_a_column_are_bold_if_they_are_printed_alike():
    assert format_scores([0.91, 0.904, 0.1], 2, False, '*{}*') == ['*0.91*', '0.90', '0.10']
    assert format_scores([10, 9], 0, True, '*{}*') == ['10', '*9*']
    assert format_scores([0.101, 0.102], 2, True, '*{}*') == ['*0.10*', '*0.10*']


def test_single_score_is_not_bold():
    assert format_scores([0.5], 1, False, '*{}*') == ['0.5']


def test_bar_in_a_cell_does_not_end_it():
    assert markdown(['model', 'MAE'], [['a|b', 0.1]]).splitlines()[-1] == r'| a\|b | 0.1 |'


def test_latex():
    name = latex_text('a_b & 50% #1')
    assert name == r'a\_b \& 50\% \#1'
    lines = latex(['model', 'MAE'], [[name, r'\textbf{0.1}']]).splitlines()
    assert lines[0] == r'\begin{tabular}{lr}' and lines[-1] == r'\end{tabular}'
    assert name + r' & \textbf{0.1} \\' in lines
