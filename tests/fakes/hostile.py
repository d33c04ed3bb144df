"""Fifty texts that would do something, if anybody took them for more than text."""

_COMMANDS = (
    '"; touch pwned; "', "'; touch pwned; '", "$(touch pwned)", "`touch pwned`", "; touch pwned",
    "& touch pwned &", "| touch pwned", "\ntouch pwned\n", "$(touch${IFS}pwned)", "x\\\"; touch pwned #",
    "${{ touch pwned }}", "'$(touch pwned)'", "\"$(touch pwned)\"", "a;touch pwned;b", "<(touch pwned)",
    "$((`touch pwned`))", "${x:-$(touch pwned)}", "|| touch pwned", "&& touch pwned", "!touch pwned",
)  # fmt: skip
_EXPRESSIONS = (
    "${{ github.token }}", "${{ secrets.SIGNING_KEY }}", "$(params.stage)", "$(context.pipelineRun.uid)",
    "$(tasks.data.results.outcome)", "{{ repo_url }}", "{{ git_auth_secret }}", "${{ '${{' }}", "}}", "${{",
    "$(workspaces.source.path)", "$$(params.stage)", "${HOME}", "$HOME", "%(x)s", "%0A%0D%25",
)  # fmt: skip
_MARKUP = (
    "]]>", "a\nb", "a\r\nb", "::error::x", "\n::set-output name=outcome::pass", "outcome=pass",
    "x<<EOF\npass\nEOF", "../../etc/passwd", "--help", "-o/dev/null", "é 漢 😀", "\x1b[31m", "'", '"', "\\",
    "a" * 300,
)  # fmt: skip
HOSTILE = (*_COMMANDS, *_EXPRESSIONS, *_MARKUP)
assert len(HOSTILE) >= 50
