/* nvml.c - free memory by NVML, opened at run time: asking CUDA would put a context of some
 * hundred MB on a device that is only being looked at. */
#include <dlfcn.h>
#include <pthread.h>

#include "backend.h"

/* The parts of nvml.h used here. */
typedef struct nvmlDevice_st *nvml_device;
struct nvml_memory {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};

static struct {
  int (*init)(void);
  int (*by_uuid)(const char *uuid, nvml_device *device);
  int (*memory)(nvml_device device, struct nvml_memory *memory);
} nvml;
static int ready;

static void open_library(void) {
  void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return;
  *(void **)&nvml.init = dlsym(library, "nvmlInit_v2");
  *(void **)&nvml.by_uuid = dlsym(library, "nvmlDeviceGetHandleByUUID");
  *(void **)&nvml.memory = dlsym(library, "nvmlDeviceGetMemoryInfo");
  ready = nvml.init && nvml.by_uuid && nvml.memory && nvml.init() == 0;
}

uint64_t nvml_memory_free(const char *uuid) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  nvml_device device;
  struct nvml_memory memory;
  pthread_once(&once, open_library);
  if (!ready || nvml.by_uuid(uuid, &device) != 0 || nvml.memory(device, &memory) != 0) return 0;
  return memory.free;
}
