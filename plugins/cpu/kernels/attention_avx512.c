#define ATTENTION_ISA attention_isa_avx512
#include "attention_body.h"
