# cython: language_level=3
ctypedef double real
include "core.pyx"
