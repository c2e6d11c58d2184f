"""The only package that imports SpiffWorkflow: compiles definitions, executes instances deterministically."""
