"""What an organisation asks of every model: rules over the spec and the report, judged with it.

    rules:
      - name: accuracy-is-gated
        when: spec.profile == 'production'
        assert: spec.gated('accuracy')
        message: "'no gate of ' + spec.name + ' decides on accuracy'"

| module | what it is for |
|---|---|
| `rules` | rules, waivers and results: data |
| `facts` | what a rule may ask about, with its types |
| `engine` | CEL: an expression that is checked before it runs, and never passes on an error |
| `judge` | rules and facts give results; the one function that decides whether a waiver holds |
| `cases` | `mlgate policy test`: examples of each rule, and mutants that they must kill |
"""
