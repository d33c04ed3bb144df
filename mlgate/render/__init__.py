"""A report as text that somebody or something reads; each module is one format, `render(report)`."""
