/* memory.c - buffers: anonymous pages, zeroed by the kernel. */
#include <stdlib.h>
#include <sys/mman.h>

#include "backend.h"

#define HUGE_PAGE ((uint64_t)2 << 20)

int32_t backend_buffer_open(struct buffer *buffer, trainer_error *error) {
  uint64_t bytes = buffer->bytes, total = host_memory_total();
  void *base = bytes <= total ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
  if (base == MAP_FAILED)
    return trainer_fail(error, TRAINER_OOM, "no room for a buffer of %llu bytes in a memory of %llu", (unsigned long long)bytes, (unsigned long long)total);
#if defined(MADV_HUGEPAGE)
  /* Fewer TLB misses; a kernel without huge pages refuses and nothing is lost. */
  if (bytes >= HUGE_PAGE) (void)madvise(base, bytes, MADV_HUGEPAGE);
#endif
  buffer->base = base;
  return TRAINER_OK;
}

void backend_buffer_close(struct buffer *buffer) { munmap(buffer->base, buffer->bytes); }

void *backend_host_new(struct device *device, uint64_t bytes) {
  (void)device;
  return malloc(bytes);
}

void backend_host_end(struct device *device, void *memory) {
  (void)device;
  free(memory);
}
