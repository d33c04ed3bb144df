"""What tells how the arms do, one module per kind; each is a `controller.Source`."""
