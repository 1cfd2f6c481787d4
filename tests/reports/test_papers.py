"""Printed tables: read as they stand, and the statistics that the paper draws from them come out again."""

import pytest
from scipy import stats

from medseg.errors import InputError
from medseg.reports.papers import paper_table
from medseg.studies.study import ROOT


def numbers(name, *rows):
    table = paper_table(name, ROOT)
    return [table.loc[row].astype(float) for row in rows]


def test_the_seeds_and_their_test():
    seeds = paper_table("transseg_seeds", ROOT).iloc[:3].astype(float)
    ours, without = seeds.ours_dsc8, seeds.ours_wo_depth_dsc8
    assert [round(x, 2) for x in (ours.mean(), ours.std(ddof=0))] == [86.65, 0.35]
    assert [round(x, 2) for x in (without.mean(), without.std(ddof=0))] == [85.14, 0.20]
    assert round(stats.ttest_rel(ours, without, alternative="greater").pvalue, 4) == 0.0189
    assert round(stats.ttest_rel(ours, without).pvalue, 4) == 0.0379


def test_organs():
    ours, without, variation = numbers("transseg_t3_organs", "Ours", "Ours w/o D", "slice_variation_dsc")
    assert round(stats.ttest_rel(ours, without).pvalue, 3) == 0.117
    assert round(stats.wilcoxon(ours, without).pvalue, 2) == 0.47
    gain = ours - without
    pearson, spearman = stats.pearsonr(variation, gain), stats.spearmanr(variation, gain)
    assert [round(x, 2) for x in (pearson.statistic, spearman.statistic)] == [-0.84, -0.43]
    assert [round(x, 3) for x in (pearson.pvalue, spearman.pvalue)] == [0.009, 0.289]


def test_data_sets():
    ours, without = numbers("transseg_t5_generalisation", "Ours", "Ours w/o D")
    assert round(stats.wilcoxon(ours, without).pvalue, 4) == 0.0059
    assert round(stats.ttest_rel(ours, without).pvalue, 3) == 0.043


def test_an_unknown_table_is_refused():
    with pytest.raises(InputError, match="unknown table") as caught:
        paper_table("nothing", ROOT)
    assert "transseg_seeds" in caught.value.expected
