"""What tools of several modules share; with nothing but the standard library at the top, like the tools themselves."""
