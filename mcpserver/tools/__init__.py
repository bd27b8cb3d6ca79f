"""The tools: ``<category>/<toolset>.py``; every public function defined in such a module is a tool."""
