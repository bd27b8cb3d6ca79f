"""What our MCP server and client say to each other beyond the standard; all of it is optional and unseen by models.

A handle names an environment (see ``pool``). It travels in ``_meta`` of ``tools/call`` or as an HTTP header.
"""

ENV_META = "toolwright/env"
"""``_meta`` of a request: the handle."""
ENV_HEADER = "x-env-id"
"""HTTP header with the handle; ``_meta`` wins."""
ERROR_META = "toolwright/error"
"""``_meta`` of a call's result: the type of its error."""
TOOLSET_META = "toolwright/toolset"
"""``_meta`` of a listed tool: its toolset."""
STATE_METHOD = "toolwright/state"
"""Request that answers ``{"state": …}``, the hash of the handle's environment."""
CLOSE_METHOD = "toolwright/close"
"""Request that closes the handle's environment and answers ``{"closed": true}``, or false when there was none."""
