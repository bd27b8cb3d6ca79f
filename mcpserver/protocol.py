"""What our MCP server and client say to each other beyond the standard; all of it is optional and unseen by models.

A handle names an environment (see ``pool``). ``toolwright/open`` gives one; it travels in ``_meta`` of each request or
as an HTTP header, so it works whether or not the protocol in use has sessions.
"""

ENV_META = "toolwright/env"
"""``_meta`` of a request: the handle."""
ENV_HEADER = "x-env-id"
"""HTTP header with the handle; ``_meta`` wins."""
ERROR_META = "toolwright/error"
"""``_meta`` of a call's result: the type of its error."""
SYNTHETIC_META = "toolwright/synthetic"
"""``_meta`` of a call's result: true when no real tool gave it."""
TOOLSET_META = "toolwright/toolset"
"""``_meta`` of a listed tool: its toolset. Whoever tells it is one of our servers, and keeps environments."""
SANDBOX_META = "toolwright/sandbox"
"""``_meta`` of the list of tools: the level of the sandbox that tools run in."""
OPEN_METHOD = "toolwright/open"
"""Request ``{"seed": 17}`` that opens an environment and answers ``{"handle": …, "sandbox": …}``."""
STATE_METHOD = "toolwright/state"
"""Request that answers ``{"state": …}``, the hash of the handle's environment."""
CLOSE_METHOD = "toolwright/close"
"""Request that closes the handle's environment and answers ``{"closed": true}``, or false when there was none."""
