/* convert.h - how the row conversions of kernel.h are chosen for the processor. All
 * variants give the same bits. */
#ifndef TRAINER_CPU_CONVERT_H
#define TRAINER_CPU_CONVERT_H

#include "kernel.h"

/* Chooses the variant of load_f32 and store_f32 for this process. Any thread. */
void convert_choose(enum isa isa);

#endif
