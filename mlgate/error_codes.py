"""Every error code, explained: what it means and what to do. Codes are stable."""

from typing import Final, NamedTuple


class Code(NamedTuple):
    """One kind of problem."""

    title: str
    explanation: str


CODES: Final = {
    "MG101": Code(
        "not YAML",
        "The file cannot be read as one YAML 1.2 document. The position is where the reader gave "
        "up; the mistake is often a line earlier: a missing quote or bracket, a tab, a wrong "
        "indentation.",
    ),
    "MG102": Code(
        "YAML that is not used here",
        "Custom tags, aliases that stand for themselves, documents nested deeper than 64 levels "
        "or of more than a million values once their aliases are written out are refused.",
    ),
    "MG103": Code(
        "ambiguous YAML",
        "A key is given twice, a key is not plain text, or a number is not finite. Readers of "
        "such a file disagree about what it says, so nobody may guess.",
    ),
    "MG104": Code(
        "unknown key",
        "The key means nothing at this place. A typing mistake that is ignored would be a gate "
        "that does not exist. Keys that begin with x- are yours to use.",
    ),
    "MG105": Code("something is missing", "A key that must be there is not."),
    "MG106": Code(
        "wrong type",
        "The value is of another type than what is wanted. Types are not converted: quote text "
        "that looks like a number, and do not quote numbers.",
    ),
    "MG107": Code("wrong value", "The value is of the right type and cannot be used."),
    "MG108": Code(
        "extends cannot be followed",
        "extends names local files, relative to the file that holds it. They may extend others, "
        "but not in a circle.",
    ),
    "MG109": Code(
        "a placeholder that stands for nothing",
        "${params.NAME} is a parameter of the spec: its default, --set NAME=VALUE, or the "
        "variable MLGATE_PARAM_NAME. ${env.NAME} is an environment variable that the spec lists "
        "under env:. $${ is a plain ${.",
    ),
    "MG201": Code(
        "unknown stage",
        "needs: and {from: stage.output} name stages of this spec.",
    ),
    "MG202": Code(
        "an output that does not fit",
        "{from: stage.output} names an output that the stage makes, of the kind that is wanted: "
        "a model where a model is read.",
    ),
    "MG203": Code("a circle", "Stages wait for each other, so none could start."),
    "MG204": Code(
        "unknown metric",
        "A gate names a metric that its stage does not measure. It would judge nothing.",
    ),
    "MG205": Code(
        "unknown label",
        "where: selects by labels that the metric carries. mlgate explain METRIC lists them.",
    ),
    "MG206": Code(
        "a comparison that is not made",
        "compared_to: names a reference that the stage measures beside the candidate.",
    ),
    "MG207": Code(
        "a stage without gates",
        "A stage that nothing is asked of would always look green. Add a gate, or take the stage "
        "out.",
    ),
    "MG208": Code(
        "options that do not go together",
        "Each option is right alone; together they cannot be carried out.",
    ),
    "MG210": Code(
        "units that do not fit",
        "The limit's unit is of another dimension than the metric's. A plain number is in the "
        "metric's own unit.",
    ),
    "MG211": Code(
        "a limit that decides nothing",
        "The metric has a largest possible value, and the limit lies there or beyond: the gate could "
        "never fail, or never pass. Often a percentage was meant: 5% is 0.05, and 5 is 500 %.",
    ),
    "MG212": Code(
        "a gate that only an improvement could fail",
        "The comparison limits the direction in which the metric gets better, and so lets every loss "
        "pass. A latency is limited by max_increase, an accuracy by max_drop.",
    ),
    "MG301": Code(
        "a name that CI cannot use",
        "CI systems make job and file names out of stage names. Two stages whose names differ only "
        "in case, - and _ would become one, and names that begin with mlgate are taken.",
    ),
    "MG302": Code(
        "a GPU that nobody has",
        "A stage needs a GPU, and the CI file would not know which machine has one.",
    ),
    "MG303": Code(
        "more stages than GitHub has room for",
        "A GitHub workflow has a largest number of jobs. Split the spec, or compile for Tekton.",
    ),
    "MG304": Code(
        "traffic without protection",
        "A stage that moves traffic runs in a protected environment, where people can approve it.",
    ),
    "MG305": Code(
        "text that the CI system would replace",
        "Tekton replaces $(…) and Pipelines-as-Code {{…}} wherever they stand, in names too.",
    ),
    "MG306": Code(
        "a variable of the CI system's own",
        "`env` lists a variable that the runner, the shell or mlgate itself sets. In CI it would get "
        "the value of a repository's variable of that name, for every step: often none.",
    ),
    "MG307": Code(
        "longer than a hosted runner lives",
        "GitHub ends a job on its own runners after 6 hours, whatever the workflow says. The time of "
        "a job is the stage's timeout, once more for each retry, and ten minutes.",
    ),
    "MG501": Code(
        "a policy that is not there",
        "policies: and waivers: name files from the spec's folder, patterns, or a set that mlgate "
        "ships: baseline, production, regulated. What names nothing would ask nothing.",
    ),
    "MG502": Code(
        "a rule that cannot be judged",
        "The expression is CEL over spec and report, checked before it runs: fields and types are "
        "those in docs/policies.md. Numbers are written with a point: 12.0.",
    ),
    "MG503": Code(
        "a waiver that waives nothing",
        "A waiver names a rule that some policy has, once, with owner, reason, ticket and the last "
        "day on which it holds: 2026-12-31. A day that is none counts as over.",
    ),
    "MG504": Code("two rules of one name", "Waivers and reports name rules: give each its own."),
    "MG505": Code(
        "a rule that never fails",
        "It would be green whatever is found. list.all(…) holds for an empty list; … || true "
        "always holds, for CEL absorbs errors.",
    ),
    "MG506": Code(
        "a rule of the organisation that does not hold",
        "A policy that the spec names asks for something that the spec does not do. The rule's "
        "file and line say who asks for it; a waiver is for exceptions, with a last day.",
    ),
    "MG401": Code(
        "evidence that is not there",
        "mlgate verify did not find a piece of evidence that the verdict names. What nobody can "
        "read proves nothing. Say where it lies with --store, or fetch the run's record again.",
    ),
    "MG402": Code(
        "a file that was altered",
        "The content of evidence, or of a file that a stage made, no longer has the digest under "
        "which it was kept.",
    ),
    "MG403": Code(
        "a verdict that the evidence does not give",
        "Judging the evidence again does not give the verdict that was kept, to the byte. Either "
        "was altered or exchanged, or another version of mlgate judged it.",
    ),
    "MG404": Code(
        "a broken chain",
        "A stage was measured on another file than the one that the stage before it made, or read "
        "something that the spec does not give it.",
    ),
    "MG405": Code(
        "a file that was not approved",
        "The file is none that the run's stages made or judged: its content differs, or it was "
        "only read, as the data to calibrate on or the baseline to compare with.",
    ),
    "MG406": Code(
        "a verdict that is no pass",
        "Only pass and warn approve anything.",
    ),
    "MG407": Code(
        "a part only",
        "Stages of the spec were left out of the run (--only, or a pull request, which runs no "
        "privileged stages), so the verdict covers a part of what has to hold.",
    ),
    "MG408": Code(
        "another spec",
        "The verdict is of another spec than the one at hand, or of other parameters: its gates "
        "may be others.",
    ),
    "MG409": Code(
        "another profile",
        "A profile may loosen gates. The verdict was reached with another than the one that was "
        "asked for.",
    ),
    "MG410": Code(
        "a best effort",
        "No candidate held its gates. The best of them is kept to be looked at, not to be shipped.",
    ),
}

EXITS: Final = {
    0: "pass: every gate holds; gates of severity warn may have warned",
    1: "fail: a gate failed. The last lines say which, and where it stands in the spec",
    2: "the spec or the command line is wrong; nothing was measured",
    3: "error: something could not be measured. That is never a pass; the hint says what to do",
    4: "inconclusive: an interval straddles its limit. More samples, or a limit farther away",
    130: "stopped from outside; what was finished is kept, and the next run goes on",
}
