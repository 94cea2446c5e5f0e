# cython: language_level=3
ctypedef float real
include "core.pyx"
