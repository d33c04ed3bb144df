"""The only reader of rows and models: tables, filters, feeds, a model's files, sessions."""
