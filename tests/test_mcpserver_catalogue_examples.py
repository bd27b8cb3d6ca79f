"""What the tools with a fixed output promise, their examples keep; on the company world, in this process."""

import pytest
from tool_calls import World

from mcpserver.catalogue import all_tools
from mcpserver.company import company_base
from toolwright.calls import check_arguments

FIXED = [tool for tool in all_tools().values() if tool.output_schema.get("properties") and not tool.wraps_result]


@pytest.mark.parametrize("tool", FIXED, ids=lambda tool: tool.spec.name)
def test_the_result_of_each_example_fits_the_output_schema(tool, tmp_path):
    promised = tool.spec.model_copy(update={"parameters": dict(tool.output_schema)})
    for number, example in enumerate(tool.examples):
        result = World(tmp_path / str(number), dict(company_base())).call(tool, **example)
        assert check_arguments(promised, result) == []
