#include "cuda_halves.h"
