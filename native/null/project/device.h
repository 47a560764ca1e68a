/* device.h - what the device does itself. Memory is visible to host and device, so that
 * ops can move from the one to the other one by one. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 1, or 0 with one sentence on what to install. */
int device_present(char *text, uint64_t text_bytes);
/* Zeroed memory, or NULL. */
void *memory_new(uint64_t bytes);
void memory_end(void *base);
/* An example of a kernel: n floats become value, and are so when it returns. */
int device_fill(float *dst, int64_t n, float value);

#ifdef __cplusplus
}
#endif
#endif
