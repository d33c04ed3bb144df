"""Great Expectations suites on every engine, with the same verdicts."""
