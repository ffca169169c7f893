"""The one exception that means "the user can mend this"."""


class PolypError(Exception):
    """A mistake in the input. Its text is one line: what is wrong, in which file, what to do.

    The command line prints that line without a traceback and exits with 1.
    """


def root_cause(error: BaseException) -> BaseException:
    """The first PolypError or OSError in the chain that raised `error`; else the start of the chain.

    MONAI wraps what a transform or a config expression raises, once a layer.
    """
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return next((e for e in chain if isinstance(e, (PolypError, OSError))), chain[-1])
