"""The command lines; the only place that knows exit codes."""
