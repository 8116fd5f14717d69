"""Values of wrong types are refused in one line; run without the type checker of the tests, as a user would."""

import subprocess
import sys

import pytest

CODE = """
import sys
from motionloom.engines.request import Request, Segment
from motionloom.engines.mmm.tokens import MMMOptions
from motionloom.errors import RequestError
try:
    {call}
except RequestError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("Request((Segment(),), steps=2.5)", "steps is 2.5; give a whole number"),
        ("Request((Segment(),), seed='x')", "seed is 'x'; give a whole number"),
        ("Request((Segment(),), count=True)", "count is True; give a whole number"),
        ("Request((Segment(),), loop=1)", "loop is 1; give True or False"),
        ("Request((Segment(),), guidance='strong')", "guidance is 'strong'; give a number"),
        ("Segment(text=3)", "text is 3; give a text"),
        ("Segment(seconds='long')", "seconds is 'long'; give a number"),
        ("MMMOptions(temperature='hot')", "temperature is 'hot'; give a number, 0 to 10"),
        ("MMMOptions(order_noise=float('nan'))", "order_noise is nan; give a number, 0 to 1000"),
    ],
)
def test_a_wrong_type_is_one_line(call, message):
    done = subprocess.run([sys.executable, "-c", CODE.format(call=call)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (3, message), done.stderr
