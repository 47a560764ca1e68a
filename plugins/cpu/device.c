/* device.c - the one device: this machine's processor. */
#include <stdlib.h>

#include "backend.h"
#include "convert.h"

#define THREADS_MAX 1024u

/* The pool size: the caller's wish, TRAINER_CPU_THREADS, or every processor we may use. */
static uint32_t choose_threads(uint32_t wish) {
  const char *text = getenv("TRAINER_CPU_THREADS");
  if (wish == 0 && text) wish = (uint32_t)strtoul(text, NULL, 10);
  if (wish == 0) wish = host_threads();
  return wish < THREADS_MAX ? wish : THREADS_MAX;
}

int32_t cpu_device_count(uint32_t *count, trainer_error *error) {
  if (!count) return trainer_fail(error, TRAINER_INVALID, "the result of device_count is missing");
  *count = 1;
  return TRAINER_OK;
}

static int32_t isa_or_fail(enum isa *isa, trainer_error *error) {
  if (host_choose_isa(isa)) return TRAINER_OK;
  return trainer_fail(error, TRAINER_INVALID, "TRAINER_CPU_ISA is %.32s: this processor has at most %s; use that, less, or scalar",
                      getenv("TRAINER_CPU_ISA"), isa_name(host_isa()));
}

int32_t cpu_device_info(uint32_t index, trainer_device_info *info, trainer_error *error) {
  enum isa isa;
  if (index != 0) return trainer_fail(error, TRAINER_INVALID, "there is no device %u", (unsigned)index);
  if (!info) return trainer_fail(error, TRAINER_INVALID, "the result of device_info is missing");
  int32_t status = isa_or_fail(&isa, error);
  if (status) return status;
  trainer_device_info own = {
      .device_class = TRAINER_DEVICE_CPU,
      .flags = TRAINER_FLAG_UNIFIED | TRAINER_FLAG_DETERMINISTIC | TRAINER_FLAG_HOST_SLOTS,
      .numerics = TRAINER_NUMERICS_IEEE,
      .memory_total = host_memory_total(),
      .memory_free = host_memory_free(),
      .list_bytes_max = LIST_BYTES_MAX,
      .storage_dtypes = 1ull << TRAINER_F32 | 1ull << TRAINER_BF16 | 1ull << TRAINER_F16 | 1ull << TRAINER_I32 | 1ull << TRAINER_U8,
      .compute_dtypes = 1ull << TRAINER_F32 | (isa == ISA_AVX512BF16 ? 1ull << TRAINER_BF16 : 0),
      .alignment = WORKSPACE_ALIGNMENT,
      .lanes = 1,
      .threads = choose_threads(0),
  };
  own.buffer_max = own.memory_total;
  host_cpu_name(own.name, sizeof own.name);
  snprintf(own.uuid, sizeof own.uuid, "cpu-0");
  snprintf(own.isa, sizeof own.isa, "%s", isa_name(isa));
  TRAINER_WRITE(info, own);
  return TRAINER_OK;
}

static void device_release(struct object *object) {
  struct cpu_device *device = (struct cpu_device *)object;
  pool_destroy(device->pool);
  pool_destroy(device->inline_pool);
  device_destroy(&device->device);
  free(device);
}

static struct device *device_create(enum isa isa, uint32_t threads, uint64_t memory_limit) {
  struct cpu_device *own = calloc(1, sizeof *own);
  if (!own) return NULL;
  device_init(&own->device, memory_limit, device_release);
  own->device.alignment = WORKSPACE_ALIGNMENT;
  own->device.unified = 1;
  own->isa = isa;
  own->pool = pool_create(threads);
  own->inline_pool = pool_create(1);
  if (own->pool && own->inline_pool) return &own->device;
  object_release(&own->device.object);
  return NULL;
}

int32_t cpu_device_open(uint32_t index, const trainer_device_options *given, uint64_t *handle, trainer_error *error) {
  trainer_device_options options = {0};
  enum isa isa;
  if (index != 0) return trainer_fail(error, TRAINER_INVALID, "there is no device %u", (unsigned)index);
  if (!handle || (given && !TRAINER_READ(options, given)))
    return trainer_fail(error, TRAINER_INVALID, "the options or the result of device_open are missing or too small");
  int32_t status = isa_or_fail(&isa, error);
  if (status) return status;
  convert_choose(isa);
  struct device *device = device_create(isa, choose_threads(options.threads), options.memory_limit);
  uint64_t made = device ? handle_new(&device->object) : 0;
  if (!made) {
    if (device) object_release(&device->object);
    return trainer_fail(error, TRAINER_OOM, "no memory or no threads for a pool of %u", (unsigned)choose_threads(options.threads));
  }
  *handle = made;
  return TRAINER_OK;
}

int32_t backend_enter(struct device *device, trainer_error *error) {
  (void)device, (void)error; /* a processor is never lost, nor are its threads prepared */
  return TRAINER_OK;
}
