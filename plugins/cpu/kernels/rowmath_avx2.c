#define ROWMATH rowmath_avx2
#include "rowmath_rows.h"
