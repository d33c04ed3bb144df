"""Expectations and data that every engine must agree on: 54 fixed cases, and random ones."""

import datetime
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 1000
Written = dict[str, Any]


def table() -> pa.Table:
    """1,000 rows with one or a few faults in each column."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(10, 2, ROWS), rng.normal(12, 2, ROWS)
    x[3], y[10:15] = 99.0, np.nan
    email, js, day = (
        [f"u{k}@x.com" for k in range(ROWS)],
        ['{"a": 1}'] * ROWS,
        ["2026-01-02"] * ROWS,
    )
    email[7], js[8], day[9] = "bad", "{no", "zz"
    increasing = np.arange(ROWS, dtype=float)
    increasing[20] = -1
    return pa.table(
        {
            "i": np.arange(ROWS),
            "dup": np.r_[np.arange(ROWS - 2), [5, 5]],
            "x": x,
            "y": y,
            "c": rng.choice(["a", "b", "c"], ROWS).tolist(),
            "email": email,
            "js": js,
            "d": day,
            "inc": increasing,
            "allnull": pa.nulls(ROWS, pa.string()),
        }
    )


def case(name: str, **kwargs: Any) -> Written:
    return {"type": f"expect_{name}", "kwargs": kwargs}


BINS = {"bins": [0, 5, 8, 10, 12, 15, 100], "weights": [0.01, 0.15, 0.34, 0.34, 0.15, 0.01]}
QUANTILES = {"quantiles": [0.25, 0.5], "value_ranges": [[5, 11], [5, 11]]}
SHARES = {"values": ["a", "b", "c"], "weights": [0.34, 0.33, 0.33]}
CASES: list[Written] = [
    case("column_distinct_values_to_be_in_set", column="c", value_set=["a", "b"]),
    case("column_distinct_values_to_contain_set", column="c", value_set=["a"]),
    case("column_distinct_values_to_equal_set", column="c", value_set=["a", "b", "c"]),
    case(
        "column_kl_divergence_to_be_less_than", column="c", partition_object=SHARES, threshold=0.1
    ),
    case("column_kl_divergence_to_be_less_than", column="x", partition_object=BINS, threshold=0.1),
    case("column_max_to_be_between", column="x", max_value=50),
    case("column_mean_to_be_between", column="y", min_value=11, max_value=13),
    case("column_median_to_be_between", column="y", min_value=11, max_value=13),
    case("column_min_to_be_between", column="x", min_value=0),
    case("column_most_common_value_to_be_in_set", column="d", value_set=["2026-01-02"]),
    case("column_pair_values_a_to_be_greater_than_b", column_A="y", column_B="x"),
    case("column_pair_values_to_be_equal", column_A="i", column_B="dup"),
    case("column_pair_values_to_be_in_set", column_A="i", column_B="dup", value_pairs_set=[[1, 1]]),
    case("column_proportion_of_non_null_values_to_be_between", column="y", min_value=0.9),
    case("column_proportion_of_unique_values_to_be_between", column="dup", min_value=0.9),
    case("column_quantile_values_to_be_between", column="x", quantile_ranges=QUANTILES),
    case("column_stdev_to_be_between", column="y", min_value=1, max_value=3),
    case("column_sum_to_be_between", column="i", min_value=1),
    case("column_to_exist", column="x"),
    case("column_unique_value_count_to_be_between", column="c", min_value=3, max_value=3),
    case("column_value_lengths_to_be_between", column="email", min_value=5),
    case("column_value_lengths_to_equal", column="d", value=10),
    case("column_value_z_scores_to_be_less_than", column="x", threshold=5, double_sided=True),
    case("column_values_to_be_between", column="x", min_value=0, max_value=50),
    case("column_values_to_be_decreasing", column="inc"),
    case("column_values_to_be_increasing", column="inc"),
    case("column_values_to_be_dateutil_parseable", column="d"),
    case("column_values_to_be_in_set", column="c", value_set=["a", "b"]),
    case("column_values_to_be_in_type_list", column="x", type_list=["float64", "DOUBLE"]),
    case("column_values_to_be_of_type", column="x", type_="float64"),
    case("column_values_to_be_json_parseable", column="js"),
    case("column_values_to_be_null", column="allnull"),
    case("column_values_to_be_unique", column="dup"),
    case("column_values_to_match_json_schema", column="js", json_schema={"type": "object"}),
    case("column_values_to_match_like_pattern", column="email", like_pattern="u%"),
    case("column_values_to_match_like_pattern_list", column="email", like_pattern_list=["u%"]),
    case("column_values_to_match_regex", column="email", regex="@x"),
    case("column_values_to_match_regex_list", column="email", regex_list=["@x", "q"]),
    case("column_values_to_match_strftime_format", column="d", strftime_format="%Y-%m-%d"),
    case("column_values_to_not_be_in_set", column="c", value_set=["a"]),
    case("column_values_to_not_be_null", column="y"),
    case("column_values_to_not_match_like_pattern", column="email", like_pattern="bad"),
    case("column_values_to_not_match_like_pattern_list", column="email", like_pattern_list=["bad"]),
    case("column_values_to_not_match_regex", column="email", regex="^bad"),
    case("column_values_to_not_match_regex_list", column="email", regex_list=["^bad"]),
    case("compound_columns_to_be_unique", column_list=["c", "dup"]),
    case("multicolumn_sum_to_equal", column_list=["i", "dup"], sum_total=0),
    case("select_column_values_to_be_unique_within_record", column_list=["i", "dup"]),
    case("table_column_count_to_be_between", min_value=1, max_value=20),
    case("table_column_count_to_equal", value=10),
    case("table_columns_to_match_ordered_list", column_list=["i"]),
    case("table_columns_to_match_set", column_set=["i", "x"], exact_match=False),
    case("table_row_count_to_be_between", min_value=1),
    case("table_row_count_to_equal", value=ROWS),
]

TEXTS = ["", "a", "A", "ab", "ä", "日本", "😀", "a\nb", "1", "2026-01-02", "2026-1-2", "01.02.2026",
         '{"a": 1}', "[1,]", "NaN", "null", "{", " a ", "100%", "a_b", None]  # fmt: skip
REGEXES = ["a", "^a", "b$", r"\d", "[äÄ]", "^$", "(?i)A", r"^(?!a)", r"(a).*\1", ".", r"\s"]
LIKES = ["a%", "%b", "_", "%", "", "a\\_b", "100%", "ä%"]
FORMATS = ["%Y-%m-%d", "%d.%m.%Y", "%H:%M"]


def random_table(choose: random.Random) -> pa.Table:
    """1–30 rows: integers, floats with NaN, text, times, booleans; NULL, ties and all-null."""
    rows = choose.randint(1, 30)
    missing = choose.choice([0.0, 0.2, 1.0])

    def column(make: Any, type_: pa.DataType) -> pa.Array:
        values = [None if choose.random() < missing else make() for _ in range(rows)]
        return pa.array(values, type=type_, from_pandas=False)

    start = datetime.datetime(2026, 1, 1)  # noqa: DTZ001 - naive on purpose
    floats = [float("nan"), -1.5, 0.0, 0.5, 2.0, 3.25, 1e6]
    return pa.table(
        {
            "i": pa.array([choose.randint(-3, 6) for _ in range(rows)], type=pa.int64()),
            "k": column(lambda: choose.randint(-3, 6), pa.int64()),
            "x": column(lambda: choose.choice(floats), pa.float64()),
            "y": column(lambda: choose.choice(floats), pa.float64()),
            "s": column(lambda: choose.choice(TEXTS), pa.string()),
            "c": pa.array([choose.choice(["a", "b", "ä"]) for _ in range(rows)]),
            "t": column(
                lambda: start + datetime.timedelta(hours=choose.randint(0, 9)), pa.timestamp("us")
            ),
            "b": column(lambda: choose.random() < 0.5, pa.bool_()),
        }
    )


def random_suite(choose: random.Random, size: int = 12) -> list[Written]:
    """Expectations with arguments near the data, so that they hold about half of the time."""
    number, text = choose.choice(["i", "k", "x", "y"]), choose.choice(["s", "c"])
    anything = choose.choice(["i", "k", "x", "y", "s", "c", "t", "b"])
    ordered = choose.choice(["i", "k", "x", "t"])
    low, high = sorted((choose.randint(-3, 6), choose.randint(-3, 6)))
    mostly = {} if choose.random() < 0.7 else {"mostly": choose.choice([0.5, 0.9])}
    ignore = {
        "ignore_row_if": choose.choice(
            ["both_values_are_missing", "either_value_is_missing", "neither"]
        )
    }
    ignore_all = {
        "ignore_row_if": choose.choice(["all_values_are_missing", "any_value_is_missing", "never"])
    }
    pair = {"column_A": choose.choice(["i", "k", "x"]), "column_B": choose.choice(["x", "y"])}
    some = choose.sample(["i", "k", "x", "y"], 2)
    subset = choose.sample(["a", "b", "ä", "A", ""], 2)
    where = {} if choose.random() < 0.8 else {
        "row_condition": f'col("i") > {choose.randint(-3, 6)}',
        "condition_parser": "great_expectations",
    }  # fmt: skip
    cases = [
        case("column_values_to_be_between", column=number, min_value=low, max_value=high,
             strict_min=choose.random() < 0.5, **mostly, **where),
        case("column_values_to_be_between", column="t", min_value=f"2026-01-01T0{choose.randint(0, 9)}:00:00", **mostly),
        case("column_values_to_be_in_set", column=number, value_set=[low, high, "1"], **mostly, **where),
        case("column_values_to_be_in_set", column=text, value_set=[*subset, 1], **mostly),
        case("column_values_to_not_be_in_set", column=text, value_set=subset, **mostly),
        case("column_values_to_not_be_null", column=anything, **mostly, **where),
        case("column_values_to_be_null", column=anything, **mostly),
        case("column_values_to_be_unique", column=anything, **mostly, **where),
        case("column_values_to_be_increasing", column=ordered, strictly=choose.random() < 0.5, **mostly),
        case("column_values_to_be_decreasing", column=ordered, strictly=choose.random() < 0.5, **mostly),
        case("column_values_to_match_regex", column=text, regex=choose.choice(REGEXES), **mostly),
        case("column_values_to_not_match_regex", column=text, regex=choose.choice(REGEXES)),
        case("column_values_to_match_regex_list", column=text, regex_list=choose.sample(REGEXES, 2),
             match_on=choose.choice(["any", "all"])),
        case("column_values_to_not_match_regex_list", column=text, regex_list=choose.sample(REGEXES, 2)),
        case("column_values_to_match_like_pattern", column=text, like_pattern=choose.choice(LIKES)),
        case("column_values_to_not_match_like_pattern", column=text, like_pattern=choose.choice(LIKES)),
        case("column_values_to_match_like_pattern_list", column=text,
             like_pattern_list=choose.sample(LIKES, 2), match_on=choose.choice(["any", "all"])),
        case("column_value_lengths_to_be_between", column=text, min_value=1, max_value=2, **mostly),
        case("column_values_to_match_strftime_format", column=text, strftime_format=choose.choice(FORMATS)),
        case("column_values_to_be_json_parseable", column=text, **mostly),
        case("column_values_to_match_json_schema", column=text, json_schema={"type": "object"}),
        case("column_values_to_be_dateutil_parseable", column=text, **mostly),
        case("column_pair_values_a_to_be_greater_than_b", **pair, or_equal=choose.random() < 0.5, **ignore),
        case("column_pair_values_to_be_equal", **pair, **ignore),
        case("column_pair_values_to_be_in_set", column_A="i", column_B="k",
             value_pairs_set=[[low, high], [high, None], [low, low]], **ignore),
        case("compound_columns_to_be_unique", column_list=choose.sample(["i", "k", "c", "b"], 2), **ignore_all),
        case("multicolumn_sum_to_equal", column_list=some, sum_total=choose.randint(-2, 4), **ignore_all),
        case("select_column_values_to_be_unique_within_record", column_list=some, **ignore_all),
        case("column_mean_to_be_between", column=number, min_value=low, max_value=high, **where),
        case("column_median_to_be_between", column=number, min_value=low, max_value=high),
        case("column_sum_to_be_between", column=number, min_value=low, max_value=high),
        case("column_max_to_be_between", column=number, max_value=high),
        case("column_min_to_be_between", column=number, min_value=low, **where),
        case("column_stdev_to_be_between", column=number, min_value=0.5, max_value=high),
        case("column_unique_value_count_to_be_between", column=anything, min_value=1, max_value=4),
        case("column_proportion_of_unique_values_to_be_between", column=anything, min_value=0.4),
        case("column_proportion_of_non_null_values_to_be_between", column=anything, min_value=0.7),
        case("column_distinct_values_to_be_in_set", column=text, value_set=subset),
        case("column_distinct_values_to_contain_set", column=text, value_set=subset),
        case("column_distinct_values_to_equal_set", column=text, value_set=subset),
        case("column_most_common_value_to_be_in_set", column=text, value_set=subset),
        case("column_value_z_scores_to_be_less_than", column=number, threshold=1.5, double_sided=True),
        case("column_values_to_be_of_type", column=number, type_="int64"),
        case("table_row_count_to_be_between", min_value=2, max_value=20),
    ]  # fmt: skip
    return choose.sample(cases, size)


def write(folder: Path, rows: pa.Table) -> str:
    """`rows` as two Parquet files with several row groups, so that order is not for free."""
    half = rows.num_rows // 2
    group = max(1, rows.num_rows // 3)
    pq.write_table(rows.slice(0, half), folder / "a.parquet", row_group_size=group)
    pq.write_table(rows.slice(half), folder / "b.parquet", row_group_size=group)
    return str(folder / "*.parquet")
