#define ATTENTION_ISA attention_isa_neon
#include "attention_body.h"
