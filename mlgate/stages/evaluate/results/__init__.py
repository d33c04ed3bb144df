"""Results of other tools: each item a sample, its repeats one unit, a bare number as what it is."""
