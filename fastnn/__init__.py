"""fastnn: small neural networks, trained and run on CPUs.

The names are imported when the first one is used, so that the command line, which starts here,
hears Ctrl-C before NumPy is there.
"""

TYPE_CHECKING = False  # typing's is an import
if TYPE_CHECKING:
    from ._public import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """A public name, or a module that came with them."""
    from importlib import import_module

    public = import_module("fastnn._public")
    if name not in globals():
        globals()[name] = getattr(public, name)
    return globals()[name]


def __dir__() -> list[str]:
    """What is there, and what would be fetched."""
    from importlib import import_module

    return sorted({*globals(), *import_module("fastnn._public").__all__})
