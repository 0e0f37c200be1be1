"""Commands anywhere: without standard streams, a temporary folder or a terminal's width; and stopped at once."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from PIL import Image

from madn import errors
from madn.errors import begin_work, run_command, say, start_command
from madn.system.standard_error import held_back
from madn.system.startup import quiet

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path):
    """Starts a command in a folder with a photo; modules written into `fake/` there are found before all others."""
    Image.new("RGB", (32, 24)).save(tmp_path / "in.png")
    (tmp_path / "fake").mkdir()
    env = os.environ | {"PYTHONPATH": f"{tmp_path / 'fake'}{os.pathsep}{ROOT}"}

    def start(*words, **options):
        # Tests that run in the background ignore Ctrl-C, and so would what they start.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            argv = [sys.executable, "-m", *words]
            return subprocess.Popen(argv, cwd=tmp_path, env=env, text=True, stderr=subprocess.PIPE, **options)
        finally:
            signal.signal(signal.SIGINT, before)

    return start


@pytest.mark.process
@pytest.mark.parametrize("module", ["madn.deblur", "madn"])
def test_ctrl_c_during_the_imports_ends_in_one_line(command, tmp_path, module):
    """Also where a library swallows the exception, as some do."""
    (tmp_path / "fake/tyro.py").write_text(
        "import time\n"
        "open('here', 'w').close()\n"
        "try:\n"
        "    time.sleep(60)\n"
        "except BaseException:\n"
        "    raise ImportError('no tyro')\n"
    )
    process = command(*([module] if "." in module else [module, "deblur"]), "in.png", "-o", "out")
    end = time.monotonic() + 300
    while not (tmp_path / "here").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert (process.communicate()[1], process.returncode) == ("madn: stopped\n", 130)


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["madn.deblur"], "nothing to restore: give photos"),
        (["madn.deblur", "in.png", "-o", "out", "--model", "mdan"], "mdan: no published weights of that name"),
        (["madn.deblur", "in.png", "-o", "out", "--modle", "madn"], "Unrecognized options: --modle"),
        (["madn.deblur", "gone.png", "-o", "out"], "gone.png: no such file or folder"),
        (["madn.evaluate", "mdan", "--data", "samples"], "mdan: no published weights of that name"),
        (["madn.evaluate", "madn-small", "--data", "gone"], "gone: no such folder"),
        (["madn.export", "mdan", "out"], "mdan: no published weights of that name"),
        (["madn.bench", "--restore", "in.png", "--model", "mdan"], "mdan: no published weights of that name"),
        (["madn.batch", "in.png", "-o", "out", "--model", "mdan"], "mdan: no published weights of that name"),
        (["madn.train", "--recipe", "madn", "--data", "gone"], "gone: no such folder"),
        (["madn.train", "--recipe", "madn", "--photos", "gone"], "gone: no such folder"),
        (["madn.train", "--recipe", "madn", "--weights", "gone.weights.h5"], "gone.weights.h5: no such weights file"),
        (
            ["madn.compare", "--data", "samples", "--weights", "gone.weights.h5"],
            "gone.weights.h5: no such weights file",
        ),
    ],
)
def test_what_is_misspelt_is_said_before_keras_starts(command, tmp_path, words, said):
    for name in ("keras", "tensorflow", "torch", "jax"):
        (tmp_path / f"fake/{name}.py").write_text("import os\nos._exit(99)\n")
    process = command(*words)
    err = process.communicate()[1]
    assert process.returncode == 2 and err.startswith(f"madn: error: {said}") and err.count("\n") == 1, err


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="other systems start a process with all three streams")
def test_closed_streams_are_no_fault_and_no_file_takes_their_place(tmp_path):
    (tmp_path / "job.py").write_text(
        "import os, sys\n"
        "from madn.errors import run_command\n"
        "def main(argv):\n"
        "    with open('file', 'w') as file:\n"
        "        print('said')\n"
        "        print('said', file=sys.stderr)\n"
        "        os.write(2, b'said')\n"
        "        file.write(str(file.fileno()))\n"
        "run_command(main)\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", f"{sys.executable} job.py <&- >&- 2>&-"], cwd=tmp_path, env=env)
    assert done.returncode == 0 and int((tmp_path / "file").read_text()) > 2
    words = f"{sys.executable} -m madn.deblur gone.png -o out 2>&-"
    done = subprocess.run(["sh", "-c", words], cwd=tmp_path, env=env, capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.process
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a file that is always full")
def test_output_that_cannot_be_written_is_one_line(command):
    with open("/dev/full", "w") as full:
        process = command("madn.train", "--list", stdout=full)
        err = process.communicate()[1]
    assert process.returncode == 2 and err.startswith("madn: error: standard output ")
    assert err.count("\n") == 1


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="other systems have no pseudo terminals")
def test_a_terminal_of_no_width(tmp_path):
    import pty

    main, other = pty.openpty()  # Nobody has set its size.
    words = [sys.executable, "-m", "madn.deblur", "--modle", "madn"]
    process = subprocess.Popen(words, stdout=other, stderr=other, env=os.environ | {"PYTHONPATH": str(ROOT)})
    os.close(other)
    said = b""
    try:
        while part := os.read(main, 4096):
            said += part
    except OSError:  # Linux ends a pseudo terminal so.
        pass
    os.close(main)
    assert process.wait() == 2 and b"--modle" in said and b"Traceback" not in said


def test_what_is_held_back_needs_no_temporary_folder(monkeypatch, capfd):
    said = []
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", "/proc/none")
        with held_back(said.append):
            os.write(2, b"note\n")
        with pytest.raises(RuntimeError), quiet():
            os.write(2, b"why\n")
            raise RuntimeError
        patched.setattr(sys, "stderr", None)
        with quiet():
            os.write(2, b"another note\n")
    assert said == [b"note\n"] and capfd.readouterr().err == "why\n"


def test_a_closed_reader_does_not_end_the_work(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    nobody = os.fdopen(writing, "w", buffering=1)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", nobody)
        say("error: a.png: cut short")
    with pytest.raises(BrokenPipeError):
        nobody.close()


def test_stopped_says_how_to_go_on(capsys):
    def main(argv):
        raise KeyboardInterrupt("the same command goes on")

    with pytest.raises(SystemExit) as stop:
        run_command(main, [])
    assert stop.value.code == 130 and capsys.readouterr().err == "madn: stopped; the same command goes on\n"


def test_ctrl_c_is_left_alone_where_someone_else_handles_it(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        start_command()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        start_command()
        assert signal.getsignal(signal.SIGINT) is errors._end_at_once
        begin_work()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
