# Every tuned number, with its reason.

cdef enum:
    SMALL = 1 << 14                 # multiplications of a layer, and a batch, that threads do not share
    GRADIENT_ROWS = 96              # of a block of dW between product and update
    GRADIENT_COLUMNS = 512
    TURNED_ROWS = 96                # of a block of D^T = W A^T before it is turned back
    SUMS = 256                      # at most over the pieces of a layer, where more than two threads train
    GAP = 4096 + 80                 # between what one thread and what two threads use: cores fetch ahead
cdef Py_ssize_t FORWARD_ROWS = 24           # rows that a thread carries through the network at a time
# Floating-point operations that are worth another thread:
cdef double WORK = 1 << 18                  # of a prediction
cdef double STEP_WORK = 1 << 20             # of a step of training
