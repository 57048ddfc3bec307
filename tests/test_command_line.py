"""What every command answers: help, interruptions, files that cannot be written."""

import signal
import subprocess
import sys

import pytest

from hw.command_line import Parser
from hw.files import write_files

#: What was started in the background ignores interruptions, and so would its children.
PROGRAM = """
import signal, time
from hw.command_line import Parser
signal.signal(signal.SIGINT, signal.default_int_handler)
Parser(prog="waiting", resumes={resumes}).parse_args()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("resumes", "said"),
    [(True, "waiting: stopped; the same command goes on\n"), (False, "waiting: stopped\n")],
)
def test_an_interrupted_command_ends_with_one_line(resumes, said):
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(resumes=resumes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=30) == ("", said)
    assert running.returncode == 130


def test_any_other_exception_keeps_its_traceback():
    program = "from hw.command_line import Parser; Parser().parse_args(); 1 / 0"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


def test_help_has_no_backticks_of_docstrings():
    assert Parser(prog="one", description="``run`` runs.").format_help().splitlines()[2] == "run runs."


def test_files_that_cannot_be_written_name_the_option(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write to .*file: .*; name another folder with --json"):
        write_files({"a": "text"}, tmp_path / "file", option="--json")


def test_files_have_the_same_permissions(tmp_path):
    write_files({"text": "a", "bytes": b"\x00"}, tmp_path)
    assert (tmp_path / "bytes").read_bytes() == b"\x00"
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
