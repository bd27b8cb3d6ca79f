"""The tool server: catalogue, tools, environments, and the MCP and HTTP faces over one dispatcher."""
