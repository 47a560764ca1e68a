/* quantise_formats.h - between the op QUANTISE and the two kinds of formats. */
#ifndef TRAINER_CPU_QUANTISE_FORMATS_H
#define TRAINER_CPU_QUANTISE_FORMATS_H

#include "../../../native/quantise.h"
#include "../kernel.h"
#include "rowmath.h"

/* NF4 and FP4: the nearest number of a table. */
uint64_t tabled_workspace(const trainer_quant_format *f, int64_t n);
void quantise_tabled(const struct call *call, const trainer_quant_format *f);

/* AFFINE, BIASED and INT8: codes at even steps. */
uint64_t spread_workspace(const trainer_quant_format *f, int64_t n);
void quantise_spread(const struct call *call, const trainer_quant_format *f);

/* Element `at` of a view without gaps. */
static inline const void *element(const struct view *view, int64_t at) { return (const char *)view->data + at * dtype_bytes(view->dtype); }

#endif
