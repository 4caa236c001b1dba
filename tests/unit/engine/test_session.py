"""What connects to Ray, as far as it needs none."""

from ray._private import worker

from raynas.engine.session import _ray_speaks_on_stderr


def message(text):
    return {"lines": [text], "pid": "raylet", "is_err": False}


def test_what_ray_has_to_say_goes_to_stderr_while_it_is_used(capsys):
    before = worker.print_to_stdstream
    with _ray_speaks_on_stderr():
        worker.print_to_stdstream(message("many workers"), ignore_prefix=False)
    said = capsys.readouterr()
    assert said.out == ""
    assert "many workers" in said.err
    assert worker.print_to_stdstream is before
