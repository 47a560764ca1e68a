/* handle.c - handles: (generation << 32 | slot + 1), so that a handle is never 0 and a
 * reused slot does not answer to an old one. */
#include "handle.h"

#include <pthread.h>
#include <stdlib.h>

struct slot {
  struct object *object;
  uint32_t generation;
};

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot *slots;
static uint32_t slot_count;

void object_init(struct object *object, enum object_kind kind, struct device *device, void (*release)(struct object *)) {
  object->kind = kind;
  atomic_store(&object->references, 1);
  object->device = device;
  object->release = release;
  if (device) object_retain((struct object *)device);
}

void object_retain(struct object *object) { atomic_fetch_add(&object->references, 1); }

void object_release(struct object *object) {
  if (!object || atomic_fetch_sub(&object->references, 1) != 1) return;
  struct device *device = object->device;
  object->release(object);
  object_release((struct object *)device);
}

/* The index of a free slot, or -1. Called with the lock held. */
static int64_t free_slot(void) {
  for (uint32_t i = 0; i < slot_count; i++)
    if (!slots[i].object) return i;
  uint32_t grown = slot_count ? slot_count * 2 : 64;
  struct slot *bigger = realloc(slots, grown * sizeof *bigger);
  if (!bigger) return -1;
  for (uint32_t i = slot_count; i < grown; i++) bigger[i] = (struct slot){NULL, 1};
  slots = bigger;
  uint32_t first = slot_count;
  slot_count = grown;
  return first;
}

uint64_t handle_new(struct object *object) {
  uint64_t handle = 0;
  pthread_mutex_lock(&table_lock);
  int64_t index = free_slot();
  if (index >= 0) {
    slots[index].object = object;
    handle = (uint64_t)slots[index].generation << 32 | (uint64_t)(index + 1);
  }
  pthread_mutex_unlock(&table_lock);
  return handle;
}

static struct slot *find(uint64_t handle, enum object_kind kind, const struct device *device) {
  uint32_t index = (uint32_t)handle - 1;
  if (index >= slot_count) return NULL;
  struct slot *slot = &slots[index];
  if (!slot->object || slot->generation != handle >> 32) return NULL;
  if (slot->object->kind != kind || slot->object->device != device) return NULL;
  return slot;
}

struct object *handle_get(uint64_t handle, enum object_kind kind, const struct device *device) {
  struct object *object = NULL;
  pthread_mutex_lock(&table_lock);
  struct slot *slot = find(handle, kind, device);
  if (slot) {
    object = slot->object;
    object_retain(object);
  }
  pthread_mutex_unlock(&table_lock);
  return object;
}

static struct object *take(struct slot *slot) {
  struct object *object = slot->object;
  slot->object = NULL;
  slot->generation++;
  return object;
}

struct object *handle_take(uint64_t handle, enum object_kind kind, const struct device *device) {
  pthread_mutex_lock(&table_lock);
  struct slot *slot = find(handle, kind, device);
  struct object *object = slot ? take(slot) : NULL;
  pthread_mutex_unlock(&table_lock);
  return object;
}

struct object *handle_take_any(const struct device *device) {
  struct object *object = NULL;
  pthread_mutex_lock(&table_lock);
  for (uint32_t i = 0; i < slot_count && !object; i++)
    if (slots[i].object && slots[i].object->device == device) object = take(&slots[i]);
  pthread_mutex_unlock(&table_lock);
  return object;
}
