"""Jobs that write vectors and calibrations as files of other programs."""
