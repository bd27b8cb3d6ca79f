"""Python code and shell commands, in the sandbox."""
