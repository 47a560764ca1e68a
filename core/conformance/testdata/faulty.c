/* A backend that lets another one do the work and then spoils it: tests load it to see
 * that the judge notices. TRAINER_FAULT names what goes wrong, TRAINER_BACKEND the file
 * that works; with TRAINER_FAULT_OP only lists that begin with that op are spoilt. Preloaded into a process, it also counts what that file allocates. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trainer_backend.h"

#define BUFFERS 64
#define PATIENCE 10000000000ull

TRAINER_EXPORT const char trainer_backend_manifest[] =
    "{\"name\":\"faulty\",\"version\":\"1.0\",\"abi_major\":0,\"abi_minor\":1,\"cpu_features\":[]}";

static trainer_backend_table real, table;
static trainer_buffer buffers[BUFFERS];
static trainer_binding written; /* what the last list that was no transfer wrote */
static unsigned char frozen[256];
static unsigned calls;
static uint32_t last_op;

static int fault(const char *name) {
  const char *now = getenv("TRAINER_FAULT");
  return now && strcmp(now, name) == 0;
}

/* ---- allocations, counted where the backend that works asks for them ---- */

#if defined(__GLIBC__)
static atomic_uint allocations;

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static void count(const void *caller) {
  Dl_info from;
  if (dladdr(caller, &from) && from.dli_fname && strcmp(from.dli_fname, getenv("TRAINER_BACKEND")) == 0) allocations++;
}

#define CALLER __builtin_return_address(0)
TRAINER_EXPORT void *malloc(size_t bytes) { return count(CALLER), __libc_malloc(bytes); }
TRAINER_EXPORT void *calloc(size_t n, size_t bytes) { return count(CALLER), __libc_calloc(n, bytes); }
TRAINER_EXPORT void *realloc(void *old, size_t bytes) { return count(CALLER), __libc_realloc(old, bytes); }
TRAINER_EXPORT void *aligned_alloc(size_t alignment, size_t bytes) { return count(CALLER), __libc_memalign(alignment, bytes); }
TRAINER_EXPORT int posix_memalign(void **to, size_t alignment, size_t bytes) {
  return count(CALLER), *to = __libc_memalign(alignment, bytes), *to ? 0 : 12;
}
#else
static unsigned allocations;
#endif

/* ---- what is spoilt ---- */

/* All memory is staging memory, so that it can be spoilt from here. */
static int32_t buffer_alloc(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *error) {
  trainer_buffer_desc visible = *desc;
  visible.memory = TRAINER_MEMORY_STAGING;
  int32_t status = real.buffer_alloc(device, &visible, buffer, error);
  static unsigned next;
  if (status == TRAINER_OK) buffers[next++ % BUFFERS] = *buffer;
  return status;
}

static unsigned char *bytes_of(const trainer_binding *binding) {
  for (unsigned i = 0; i < BUFFERS; i++)
    if (buffers[i].handle == binding->buffer) return (unsigned char *)buffers[i].host_pointer + binding->offset;
  return NULL;
}

static uint32_t first_op(const trainer_list *list) { return ((const trainer_record *)(const void *)((const char *)list + list->struct_size))->op; }

static int is_transfer(const trainer_submit *submit) { return !submit->plan && first_op(submit->list) == TRAINER_OP_COPY; }

/* Whether the last list that was no transfer begins with the op to be spoilt. */
static int chosen(void) {
  const char *only = getenv("TRAINER_FAULT_OP");
  return !only || strtoul(only, NULL, 0) == last_op;
}

/* The first root of the written slot begins behind 256 guard bytes. */
static void spoil(const trainer_submit *submit) {
  unsigned char *at = bytes_of(&written);
  if (!at || !chosen()) return;
  if (fault("value")) at[256 + 3] ^= 1;
  if (fault("nan")) memset(at + 256, 0xFF, 4);
  if (fault("outside")) at[255] ^= 1;
  if (fault("input") && !submit->plan) bytes_of(&submit->bindings[0])[256] ^= 1;
  if (fault("unstable")) at[256] ^= (unsigned char)(calls++ & 1);
  if (fault("plan") && submit->plan) at[256] ^= 1;
}

static int32_t submit(uint64_t device, uint64_t queue, const trainer_submit *given, trainer_error *error) {
  trainer_submit own = *given;
  if (is_transfer(given)) return real.submit(device, queue, given, error);
  if (!given->plan) {
    written = given->bindings[1];
    last_op = first_op(given->list);
  }
  if (fault("params")) { /* the params of the first submit, forever */
    if (!given->plan && given->params_bytes <= sizeof frozen) memcpy(frozen, given->params, given->params_bytes);
    own.params = frozen;
  }
  unsigned before = allocations;
  int32_t status = real.submit(device, queue, &own, error);
  if (status != TRAINER_OK) return status;
  status = real.timeline_wait(device, given->signals[0].timeline, given->signals[0].value, PATIENCE, error);
  if (fault("allocations") && given->plan && allocations != before) {
    snprintf(error->text, sizeof error->text, "%u allocations while a plan ran", allocations - before);
    return TRAINER_INTERNAL;
  }
  if (fault("allocations") && !given->plan && allocations == before) {
    snprintf(error->text, sizeof error->text, "not one allocation for a list: they are not counted");
    return TRAINER_INTERNAL;
  }
  spoil(given);
  return status;
}

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) {
  void *library = dlopen(getenv("TRAINER_BACKEND"), RTLD_NOW);
  int32_t (*query)(const trainer_host_info *, trainer_reply *);
  if (!library) return TRAINER_UNAVAILABLE;
  *(void **)&query = dlsym(library, "trainer_backend_query_v1");
  int32_t status = query(host, reply);
  if (status != TRAINER_OK) return status;
  table = real = *reply->table;
  table.buffer_alloc = buffer_alloc;
  table.submit = submit;
  reply->table = &table;
  return TRAINER_OK;
}
