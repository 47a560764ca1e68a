/* prepared.c - what kernels prepared, kept by what it depends on: the kernel, the operands'
 * dtypes, shapes and strides, and the attributes. The layers of a model share one. */
#include <stdlib.h>

#include "backend.h"

#define KEPT 512 /* unused ones go beyond this many */

struct prepared {
  struct prepared *next;
  const struct kernel *kernel;
  uint64_t hash;
  uint32_t users;
  uint64_t key_bytes;
  void *key;
  void *value;
};

void *prepared_value(const struct prepared *prepared) { return prepared ? prepared->value : NULL; }

static uint64_t key_bytes_of(const struct call *call) {
  return 2 * sizeof(uint32_t) + (call->n_out + call->n_in) * sizeof(struct view) + call->attr_bytes;
}

/* The call as bytes, without addresses. */
static void write_key(uint8_t *key, const struct call *call) {
  uint32_t counts[2] = {call->n_out, call->n_in};
  uint64_t views = (call->n_out + call->n_in) * sizeof(struct view);
  memcpy(key, counts, sizeof counts);
  memcpy(key + sizeof counts, call->out, views); /* the inputs lie behind the outputs; data is NULL in all */
  memcpy(key + sizeof counts + views, call->attr, call->attr_bytes);
}

static uint64_t hash_of(const struct kernel *kernel, const uint8_t *key, uint64_t bytes) {
  uint64_t hash = 0xCBF29CE484222325ull ^ kernel->op; /* FNV-1a */
  for (uint64_t i = 0; i < bytes; i++) hash = (hash ^ key[i]) * 0x100000001B3ull;
  return hash;
}

static struct prepared *find(struct cuda_device *device, const struct prepared *like) {
  for (struct prepared *at = device->prepared; at; at = at->next)
    if (at->hash == like->hash && at->kernel == like->kernel && at->key_bytes == like->key_bytes && !memcmp(at->key, like->key, at->key_bytes))
      return at;
  return NULL;
}

static void discard(struct prepared *prepared) {
  if (prepared->kernel->discard && prepared->value) prepared->kernel->discard(prepared->value);
  free(prepared->key);
  free(prepared);
}

static struct prepared *draft(const struct kernel *kernel, const struct call *call) {
  struct prepared *made = calloc(1, sizeof *made);
  if (!made) return NULL;
  made->kernel = kernel;
  made->key_bytes = key_bytes_of(call);
  made->key = malloc(made->key_bytes);
  if (!made->key) {
    free(made);
    return NULL;
  }
  write_key(made->key, call);
  made->hash = hash_of(kernel, made->key, made->key_bytes);
  return made;
}

int32_t prepared_get(struct cuda_device *device, const struct kernel *kernel, const struct call *call, struct prepared **out, char *text, uint64_t text_bytes) {
  struct prepared *made = draft(kernel, call);
  if (!made) return refuse(text, text_bytes, TRAINER_OOM, "no memory to prepare the record");
  int32_t status = TRAINER_OK;
  /* Held while preparing: a second record of the same shape waits instead of preparing too. */
  pthread_mutex_lock(&device->prepared_lock);
  struct prepared *known = find(device, made);
  if (!known) {
    status = kernel->prepare(call, &made->value, text, text_bytes);
    if (!status) {
      made->next = device->prepared;
      device->prepared = known = made;
      device->prepared_count++;
    }
  }
  if (known) known->users++;
  pthread_mutex_unlock(&device->prepared_lock);
  if (known != made) discard(made);
  *out = known;
  return status;
}

void prepared_release(struct cuda_device *device, struct prepared *prepared) {
  if (!prepared) return;
  pthread_mutex_lock(&device->prepared_lock);
  int goes = --prepared->users == 0 && device->prepared_count > KEPT;
  if (goes) {
    struct prepared **at = &device->prepared;
    while (*at != prepared) at = &(*at)->next;
    *at = prepared->next;
    device->prepared_count--;
  }
  pthread_mutex_unlock(&device->prepared_lock);
  if (goes) discard(prepared);
}

void prepared_free_all(struct cuda_device *device) {
  struct prepared *prepared;
  while ((prepared = device->prepared)) {
    device->prepared = prepared->next;
    discard(prepared);
  }
}
