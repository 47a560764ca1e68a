#define ATTENTION_ISA attention_isa_avx2
#include "attention_body.h"
