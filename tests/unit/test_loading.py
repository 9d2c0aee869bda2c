"""What a process loads before anybody needs it makes its start longer."""

import subprocess
import sys


def test_the_library_for_schemas_is_loaded_by_the_first_answer_that_has_one() -> None:
    code = (
        "import sys; from sluice.infrastructure.json_schema import check_value;"
        " print('jsonschema' in sys.modules); check_value({'type': 'string'}, 'yes');"
        " print('jsonschema' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]
