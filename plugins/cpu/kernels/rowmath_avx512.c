#define ROWMATH rowmath_avx512
#include "rowmath_rows.h"
