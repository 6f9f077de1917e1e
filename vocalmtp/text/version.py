"""The version of the readings, and what it stands for."""

# How the golden cases (tests/text/golden.tsv) are said in each version, as `readings_hash` has it.
# When a case is added or read differently, add a line with the next number.
READINGS = {
    1: "63aa952f8598b954",
}
VERSION = max(READINGS)
