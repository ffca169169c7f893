"""The command `polyp`: arguments and messages; the one place that knows every room."""
