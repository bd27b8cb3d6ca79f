"""The tools, one module for each toolset; every public function defined in such a module is a tool."""
