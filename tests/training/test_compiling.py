import pytest

from training.compiling import CompiledFunction


def halved(value):
    return value / 2


def test_what_can_be_compiled_is_compiled_once_and_called_from_then_on(caplog):
    compilations = []

    def compiler(function):
        compilations.append(function)
        return lambda value: function(value) + 1

    call = CompiledFunction(halved, compiler=compiler)
    assert [call(2), call(4)] == [2, 3]
    assert compilations == [halved]
    assert not caplog.records


def test_what_cannot_be_compiled_is_called_as_it_is_and_one_line_says_why(caplog):
    tries = []

    def failing(value):
        tries.append(value)
        raise RuntimeError("\nno working C++ compiler found\nand a page about it")

    call = CompiledFunction(halved, compiler=lambda _: failing)
    assert [call(2), call(4), call(6)] == [1, 2, 3]
    assert tries == [2]
    assert [record.getMessage() for record in caplog.records] == [
        "steps are not compiled (no working C++ compiler found)"
    ]


def test_what_was_given_for_that_is_called_instead():
    def failing(value):
        raise RuntimeError("no working C++ compiler found")

    call = CompiledFunction(halved, compiler=lambda _: failing, otherwise=lambda value: -value)
    assert [call(2), call(4)] == [-2, -4]


def test_a_function_that_fails_by_itself_fails_compiled_too():
    def broken(_):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        CompiledFunction(broken, compiler=lambda function: function)(1)


def test_what_goes_wrong_after_the_first_call_is_not_swallowed():
    calls = []

    def failing_later(value):
        calls.append(value)
        if len(calls) > 1:
            raise RuntimeError("a later failure")
        return value

    call = CompiledFunction(halved, compiler=lambda _: failing_later)
    assert call(2) == 2
    with pytest.raises(RuntimeError, match="a later failure"):
        call(2)
