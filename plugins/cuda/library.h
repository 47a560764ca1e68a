/* library.h - finds NVIDIA's libraries at run time, wherever a machine keeps them. */
#ifndef TRAINER_CUDA_LIBRARY_H
#define TRAINER_CUDA_LIBRARY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the first of the NULL-terminated file names that is found: in the folders of
 * TRAINER_LIBRARY_PATH (separated by colons), where the system's loader looks, in the
 * toolkit's folders, then in the NVIDIA packages of a Python environment. Writes the path
 * or plain name that worked to `found`, or one sentence when NULL is returned. */
void *library_open(const char *const *names, char *found, uint64_t found_bytes);

#ifdef __cplusplus
}
#endif

#endif
