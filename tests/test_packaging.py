"""What a fresh clone needs: pinned dependencies, named missing tools, skips that CI does not accept."""

import doctest
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_examples_of_the_readme_are_right():
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert tried > 0
    assert failed == 0


def test_every_dependency_is_pinned():
    extras = PROJECT["optional-dependencies"]
    for requirement in [*PROJECT["dependencies"], *(each for extra in extras.values() for each in extra)]:
        name, _, rest = requirement.partition("[")
        if name == PROJECT["name"]:  # its own extras
            assert set(rest.removesuffix("]").split(",")) <= extras.keys()
        else:
            assert re.fullmatch(r"[\w-]+==[\d.]+(\.\*|\.post\d+)?", requirement), requirement


@pytest.fixture
def path_without(tmp_path):
    """``path_without(tool, ...)``: a folder for PATH that has what the check uses, less some tools."""

    def make(*missing):
        for tool in {"sh", "g++", "make", "perl"} - set(missing):
            (tmp_path / tool).symlink_to(shutil.which(tool))
        return str(tmp_path)

    return make


def check_tools(path, *arguments, python=sys.executable):
    return subprocess.run(
        [shutil.which("sh"), str(ROOT / "check-tools"), *arguments],
        env={"PATH": path, "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_said_where_all_tools_are_there(path_without):
    done = check_tools(path_without(), "test")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("tool", ["g++", "make", "perl"])
def test_a_missing_tool_is_named_with_its_package(path_without, tool):
    done = check_tools(path_without(tool))
    assert done.returncode == 1
    assert done.stderr.startswith(f"Missing: {tool}")
    assert done.stderr.endswith(f"sudo apt-get install {tool}\n")


def test_an_old_python_is_named(path_without, tmp_path):
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = check_tools(path_without(), python=str(old))
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr


def test_a_python_without_venv_is_named(path_without, tmp_path):
    bare = tmp_path / "python-bare"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\n')
    bare.chmod(0o755)
    done = check_tools(path_without(), python=str(bare))
    assert done.returncode == 1
    assert "venv" in done.stderr and "python3-venv" in done.stderr


SKIPPED_TEST = "import pytest\ndef test_it():\n    pytest.skip('later')\n"
SKIPPED_MODULE = "import pytest\npytest.importorskip('no_such_module')\ndef test_it():\n    pass\n"


@pytest.mark.parametrize(
    ("source", "ci", "status"),
    [
        (SKIPPED_TEST, "", pytest.ExitCode.OK),
        (SKIPPED_TEST, "true", pytest.ExitCode.TESTS_FAILED),
        (SKIPPED_MODULE, "", pytest.ExitCode.NO_TESTS_COLLECTED),
        (SKIPPED_MODULE, "true", pytest.ExitCode.INTERRUPTED),
    ],
    ids=["test", "test in CI", "module", "module in CI"],
)
def test_a_skip_is_a_failure_in_ci(tmp_path, source, ci, status):
    assert run_pytest(tmp_path, source, ci) == status


@pytest.mark.parametrize("reason", ["no GPU", "no data set: cifar10 was not found"])
def test_some_skips_are_accepted_in_ci(tmp_path, reason):
    source = f"import pytest\ndef test_it():\n    pytest.skip({reason!r})\n"
    assert run_pytest(tmp_path, source, "true") == pytest.ExitCode.OK


def run_pytest(folder, source, ci):
    """Exit status of pytest on ``source`` under this project's conftest.py."""
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "test_it.py").write_text(source)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(folder),
            str(folder),
        ],
        cwd=folder,
        env=environment | {"CI": ci},
        capture_output=True,
        text=True,
        check=False,
    ).returncode
