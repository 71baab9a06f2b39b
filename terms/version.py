"""The version of this installation, under the name that its distribution has on package indexes.

`pip` knows it as `binnacle-interp`, since `binnacle` there is another project; it is imported and called as `binnacle`.
"""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "binnacle-interp"

try:
    VERSION = version(DISTRIBUTION)
except PackageNotFoundError:  # run from a checkout that was not installed
    VERSION = "0"
