"""The version of this installation."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("binnacle")
except PackageNotFoundError:  # run from a checkout that was not installed
    VERSION = "0"
