"""Tables of effects on other traits and questions."""

from tests.reports.gathering import effect, gathered, summary
from workers.reports.table import cell
from workers.reports.tables.elsewhere import off_target
from workers.reports.tables.methods import methods


def test_in_the_off_target_matrix_more_of_a_trait_is_positive_also_where_the_steering_suppresses() -> None:
    """Refusal was to fall and fell by 60, as sycophancy did: the gain is +60, each change -60."""
    one = summary({"probe": (60.0, 45.0, 64.0)}, {})
    one |= {"direction": "negative", "off_target": [{"trait": "sycophancy"}]}
    one["groups"][0]["off_target"] = {"sycophancy": effect("off", (-60.0, -64.0, -45.0))}
    data = gathered({"refusal": one, "sycophancy": summary({"probe": None}, {})})
    [row] = off_target(data).rows
    shown = [cell(column, row) for column in off_target(data).columns if column.kind == "points"]
    assert shown == ["-60.0 [-64.0, -45.0]"] * 2
    gains = [row["delta"] for row in methods(data).rows if row["trait"] == "refusal" and row.get("kind") == "method"]
    assert gains == [60.0]
