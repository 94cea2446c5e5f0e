# cython: language_level=3
include "core.pyx"
