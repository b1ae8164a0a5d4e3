"""Import of the application that DUALBUS_APP names."""

import importlib
import sys
import sysconfig
import traceback
from pathlib import Path

from dualbus.application.app import App
from dualbus.application.causes import own_text
from dualbus.runtime.errors import ConfigError, application_errors

_MACHINERY = ("<", str(Path(__file__).parents[1]))
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def load(name: str) -> App:
    """Import an application by name, such as "users:app"; raise ConfigError if there is none."""
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ConfigError:
        raise
    except application_errors() as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (module_name + ".").startswith(missing + "."):
            raise ConfigError(
                f"There is no module {missing!r}: DUALBUS_APP is {name!r}. Set it to your application."
            ) from None
        raise ConfigError(_import_failure(module_name, error)) from error
    app = getattr(module, attribute, None)
    if not isinstance(app, App):
        problem = f"has no attribute {attribute!r}" if app is None else f"has no App in {attribute!r}"
        raise ConfigError(f"Module {module_name!r} {problem}: DUALBUS_APP is {name!r}.")
    return app


def _import_failure(module_name: str, error: BaseException) -> str:
    """Describe an import error with file and line of the application, not of a library."""
    text, place = " ".join(own_text(error).split()), _place(error)
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):  # not of eval()
        text, place = error.msg, f" ({error.filename}, line {error.lineno})"
    return f"Module {module_name!r} cannot be imported: {type(error).__name__}: {text}{place}."


def _place(error: BaseException) -> str:
    """Return the last line of the application; if the application is installed like a library, the last line."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_MACHINERY)]
    own = [f for f in frames if not f.filename.startswith(_LIBRARIES)]
    return "".join(f" ({f.filename}, line {f.lineno})" for f in (own or frames)[-1:])
