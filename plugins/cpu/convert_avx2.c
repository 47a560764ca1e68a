#include <stdint.h>

#define CONVERT(name) name##_avx2
#include "convert_rows.h"
