"""Every interval, test and bound, once, each by the name that its textbook gives it.

Pure functions of numbers and arrays: nothing here knows a stage, a metric or a gate. Distribution
functions are SciPy's; loading them costs a third of a second, which a stage's own process pays and
no command does: only `trends`, which the spine needs, is made of the standard library alone.

| module | what it holds |
|---|---|
| `intervals` | what an interval is: `Interval`, `Estimate` |
| `binomial` | Clopper–Pearson, Wilson, Newcombe, tails of the binomial distribution |
| `paired` | proportions of the same samples: Tango, McNemar |
| `means` | Student, Yuen, batch means |
| `quantiles` | percentiles by order statistics |
| `bootstrap` | resampling, of rows and of whole epochs |
| `multiplicity` | Holm, Bonferroni, looks that share an error |
| `distances` | PSI, Jensen–Shannon, Kolmogorov–Smirnov, Wasserstein between two samples |
| `trends` | Theil–Sen slopes with Sen's interval |
"""
