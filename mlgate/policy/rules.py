"""Rules, waivers, and what a rule came to: frozen data, read from YAML and written to records."""

import re
from datetime import date
from typing import Annotated, Final, Literal

from pydantic import Field

from mlgate.evidence import Digest, Frozen
from mlgate.gate import Outcome, Severity, Word
from mlgate.policy.facts import SpecFacts

RULE_NAME: Final = r"^[a-z][a-z0-9-]{0,62}$"
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Expression = Annotated[str, Field(min_length=1, max_length=10_000)]


class Rule(Frozen):
    """One thing that is asked of every model."""

    name: str = Field(pattern=RULE_NAME, description="Name of the rule, in small letters.")
    description: str = Field("", description="What it asks for, in a sentence.")
    when: Expression = Field(
        "true", description="CEL: models that it applies to; where it is false the rule is skipped."
    )
    assert_: Expression = Field(alias="assert", description="CEL: what must hold.")
    message: Expression | None = Field(
        None, description="CEL that gives text: what is wrong, for whoever reads the report."
    )
    severity: Severity = Field("fail", description="`warn`: shown, and may ship.")
    enforcement: Literal["hard", "soft", "advisory"] = Field(
        "soft",
        description="`hard` cannot be waived; `advisory` is judged and shown, and never decides.",
    )
    owner: str = Field("", description="Who answers for the rule.")
    runbook: str = Field("", description="Where to read what to do about it.")


class PolicyFile(Frozen):
    """A file of rules."""

    description: str = ""
    rules: tuple[Rule, ...] = Field(min_length=1)


class Waiver(Frozen):
    """Leave to miss one rule until a day, inclusive, in UTC."""

    rule: str = Field(pattern=RULE_NAME, description="Name of the rule that is waived.")
    scope: Expression = Field("true", description="CEL over `spec`: the models that it is for.")
    owner: str = Field(min_length=1, description="Who asked for it.")
    reason: str = Field(min_length=1, description="Why.")
    ticket: str = Field(min_length=1, description="Where it was agreed.")
    approved_by: str = ""
    expires: str = Field(description="Last day on which it holds: 2026-12-31.")

    def last_day(self) -> date | None:
        """The last day on which it holds; None for a date that is none, which counts as over."""
        if not _DAY.fullmatch(self.expires):
            return None
        try:
            return date.fromisoformat(self.expires)
        except ValueError:
            return None


class WaiverFile(Frozen):
    """A file of waivers: apart from the rules, so that other people may own it."""

    waivers: tuple[Waiver, ...]


class Policies(Frozen):
    """What a run is held against: the rules of every file, the waivers, and the day of judging.

    `spec` is the whole spec as rules see it, stages included that the run was not asked for. Kept in the run's record, so that judging it again next year gives the same answer.
    """

    rules: tuple["PlacedRule", ...] = ()
    waivers: tuple[Waiver, ...] = ()
    spec: SpecFacts = SpecFacts()
    day: str | None = None


class PlacedRule(Frozen):
    """A rule, the file that it is in, that file's digest, and its line."""

    rule: Rule
    file: str
    digest: Digest
    line: int = Field(ge=1)


class RuleRow(Frozen):
    """What a rule came to, as a report shows it.

    `outcome` is `skip` for a rule that does not apply. `would` is what an advisory rule would have
    come to if it decided; `waived` names the waiver that holds.
    """

    rule: str
    file: str
    line: int
    digest: Digest
    outcome: Word | Literal["skip"]
    message: str
    enforcement: Literal["hard", "soft", "advisory"]
    would: Word | None = None
    waived: str | None = None
    owner: str | None = None
    runbook: str | None = None

    @property
    def rank(self) -> Outcome:
        """What it adds to the outcome of the whole."""
        return Outcome.PASS if self.outcome == "skip" else Outcome[self.outcome.upper()]


Policies.model_rebuild()
