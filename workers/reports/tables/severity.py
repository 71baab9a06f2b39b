"""The table of severity: how massive the dims of each model are, in all four ratios, and what that means for mean_diff."""

from collections.abc import Mapping

from binnacle.words.emergence import NOT_MEASURED
from binnacle.words.massive import LIMITS, listed, rule_of
from workers.reports.gathered import Gathered
from workers.reports.table import Column, Row, Table
from workers.reports.tables.severity_columns import COLUMNS, NOTE, severity_columns

NOT_STEERED = {"viable": "not steered"}
"""The values of the columns on mean_diff for a model without a steering."""


def severity(data: Gathered, verdicts: Mapping[str, Mapping[str, str]]) -> Table:
    """The dominant dimension of each model, in all four ratios, and what that means for mean_diff.

    `verdicts` maps a model to its columns on mean_diff: viable, why, massive_part.
    """
    rows: list[Row] = []
    for model, aggregate in data.calibrations.items():
        facts = aggregate["severity"]
        rows.append(
            {
                "model": model,
                "verdict": facts["verdict"],
                "scope": facts["scope"],
                "dim": facts["dominant_dim"],
                "dims": listed(aggregate),
                "rule": rule_of(aggregate),
                "share": facts["share_of_squared_norm"],
                "alignment": facts["mean_alignment"],
                **{name: ratio for name, ratio in facts["ratios"].items() if isinstance(ratio, int | float)},
                **severity_columns(aggregate, data.provenance.get(model)),
                "link": data.sources.get(model),
                **verdicts.get(model, NOT_STEERED),
            }
        )
    rows += [{"model": model, "verdict": NOT_MEASURED, "why": why} for model, why in data.unmeasured.items()]
    columns = [
        Column("model", "model"),
        Column("verdict", "severity"),
        Column("scope", "scope"),
        Column("dim", "dominant dim"),
        Column("dims", "massive dims", "dims"),
        Column("rule", "by the rule"),
        Column("ratio_to_median", "ratio_to_median", "number", LIMITS),
        Column("ratio_to_mean", "ratio_to_mean", "number"),
        Column("max_to_median", "max_to_median", "number"),
        Column("max_to_entry_median", "max_to_entry_median", "number"),
        Column("share", "share of squared norm", "share"),
        Column("alignment", "mean alignment", "number"),
        *COLUMNS,
        Column("viable", "mean_diff viable"),
        Column("why", "why"),
        Column("massive_part", "the massive part is"),
        Column("link", "calibration", "link"),
    ]
    note = (
        "ratio_to_median: token-mean size over the median dim's (mild from 10, severe from 100). ratio_to_mean: size of the mean vector's "
        "entry over the mean entry. max_to_median: per prompt, largest over the median dim's largest. max_to_entry_median: per prompt, "
        f"largest over the median of all entries. {NOTE} mean_diff is viable where it ties with the best method at equal dose."
    )
    return Table("severity", "Model severity", note, columns, rows)
