/* device.c - the GPUs of this machine that are new enough. */
#include <stdlib.h>

#include "backend.h"
#include "blas.h"
#include "dnn.h"

#define CAPABILITY_MIN 80

/* kernels/fill.cu: whether this build holds code that the current device can run. */
cudaError_t device_code_found(void);

/* ---- what is there ---- */

/* The number of devices, or a sentence on why there is none. */
static int32_t count_devices(int *count, trainer_error *error) {
  cudaError_t code = cudaGetDeviceCount(count);
  (void)cudaGetLastError();
  switch (code) {
  case cudaSuccess:
    if (*count > 0) return TRAINER_OK;
    return trainer_fail(error, TRAINER_UNAVAILABLE, "there is no NVIDIA GPU that this process may use");
  case cudaErrorNoDevice:
    return trainer_fail(error, TRAINER_UNAVAILABLE, "there is no NVIDIA GPU that this process may use; is it hidden by CUDA_VISIBLE_DEVICES or by a container?");
  case cudaErrorInsufficientDriver: {
    int driver = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaGetLastError();
    if (driver == 0) return trainer_fail(error, TRAINER_UNAVAILABLE, "there is no NVIDIA driver (libcuda.so.1); install one of CUDA %d.%d or newer", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    return trainer_fail(error, TRAINER_UNAVAILABLE, "the NVIDIA driver serves CUDA %d.%d, but %d.%d is needed; install a newer driver", driver / 1000,
                        driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  }
  default: return trainer_fail(error, TRAINER_UNAVAILABLE, "the NVIDIA driver cannot be used: %s", cudaGetErrorString(code));
  }
}

int32_t cuda_device_count(uint32_t *count, trainer_error *error) {
  int found = 0;
  if (!count) return trainer_fail(error, TRAINER_INVALID, "the result of device_count is missing");
  int32_t status = count_devices(&found, error);
  *count = status ? 0 : (uint32_t)found;
  return status;
}

static int32_t properties_of(uint32_t index, struct cudaDeviceProp *properties, trainer_error *error) {
  int count = 0;
  int32_t status = count_devices(&count, error);
  if (status) return status;
  if (index >= (uint32_t)count) return trainer_fail(error, TRAINER_INVALID, "there is no device %u", (unsigned)index);
  cudaError_t code = cudaGetDeviceProperties(properties, (int)index);
  (void)cudaGetLastError();
  if (code) return trainer_fail(error, TRAINER_UNAVAILABLE, "device %u does not answer: %s", (unsigned)index, cudaGetErrorString(code));
  return TRAINER_OK;
}

/* As the driver and nvidia-smi write it. */
static void write_uuid(char *text, size_t bytes, const cudaUUID_t *uuid) {
  size_t at = (size_t)snprintf(text, bytes, "GPU");
  for (int i = 0; i < 16; i++) {
    int dash = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;
    at += (size_t)snprintf(text + at, bytes - at, "%s%02x", dash ? "-" : "", (unsigned)(unsigned char)uuid->bytes[i]);
  }
}

/* The code path: "sm_90, cuBLASLt 13.1, cuDNN 9.14". */
static void write_isa(char *text, size_t bytes, const struct cudaDeviceProp *properties) {
  char blas[24] = "no cuBLASLt", dnn[24] = "no cuDNN";
  uint64_t blas_is = blas_version();
  int64_t dnn_is = dnn_version();
  if (blas_is) snprintf(blas, sizeof blas, "cuBLASLt %u.%u", (unsigned)(blas_is / 10000 % 100), (unsigned)(blas_is / 100 % 100));
  if (dnn_is) snprintf(dnn, sizeof dnn, "cuDNN %u.%u", (unsigned)(dnn_is / 10000 % 100), (unsigned)(dnn_is / 100 % 100));
  snprintf(text, bytes, "sm_%d%d, %s, %s", properties->major, properties->minor, blas, dnn);
}

int32_t cuda_device_info(uint32_t index, trainer_device_info *info, trainer_error *error) {
  struct cudaDeviceProp properties;
  if (!info) return trainer_fail(error, TRAINER_INVALID, "the result of device_info is missing");
  int32_t status = properties_of(index, &properties, error);
  if (status) return status;
  trainer_device_info own = {
      .device_class = properties.integrated ? TRAINER_DEVICE_INTEGRATED : TRAINER_DEVICE_DISCRETE,
      .flags = TRAINER_FLAG_HOST_SLOTS,
      .numerics = TRAINER_NUMERICS_IEEE,
      .memory_total = properties.totalGlobalMem,
      .buffer_max = properties.totalGlobalMem,
      .list_bytes_max = LIST_BYTES_MAX,
      .storage_dtypes = 1ull << TRAINER_F32 | 1ull << TRAINER_BF16 | 1ull << TRAINER_F16 | 1ull << TRAINER_I32 | 1ull << TRAINER_U8,
      .compute_dtypes = 1ull << TRAINER_F32 | 1ull << TRAINER_BF16 | 1ull << TRAINER_F16,
      .alignment = ALIGNMENT,
      .lanes = LANES,
      .tile_m = 128,
      .tile_n = 128,
      .tile_k = 64,
  };
  snprintf(own.name, sizeof own.name, "%.*s", (int)sizeof own.name - 1, properties.name);
  write_uuid(own.uuid, sizeof own.uuid, &properties.uuid);
  write_isa(own.isa, sizeof own.isa, &properties);
  own.memory_free = nvml_memory_free(own.uuid);
  if (own.memory_free == 0 || own.memory_free > own.memory_total) own.memory_free = own.memory_total;
  TRAINER_WRITE(info, own);
  return TRAINER_OK;
}

/* ---- life of a device ---- */

static void device_release(struct object *object) {
  struct cuda_device *device = (struct cuda_device *)object;
  prepared_free_all(device);
  dnn_close(device->gpu.dnn);
  blas_close(device->gpu.blas);
  params_free_all(device);
  if (device->stream) (void)cudaStreamDestroy(device->stream);
  pthread_mutex_destroy(&device->prepared_lock);
  pthread_mutex_destroy(&device->params_lock);
  (void)cudaGetLastError();
  device_destroy(&device->device);
  free(device);
}

static struct cuda_device *device_create(uint32_t index, const struct cudaDeviceProp *properties, const trainer_device_options *options) {
  const char *sync = getenv("TRAINER_CUDA_SYNC");
  struct cuda_device *device = calloc(1, sizeof *device);
  if (!device) return NULL;
  device_init(&device->device, options->memory_limit, device_release);
  device->device.alignment = ALIGNMENT;
  device->gpu = (struct gpu){
      .ordinal = (int)index,
      .capability = 10 * properties->major + properties->minor,
      .multiprocessors = properties->multiProcessorCount,
      .deterministic = options->deterministic != 0,
  };
  device->step_by_step = sync && sync[0] && strcmp(sync, "0") != 0;
  pthread_mutex_init(&device->prepared_lock, NULL);
  pthread_mutex_init(&device->params_lock, NULL);
  return device;
}

/* Makes the context and sees whether this build has code for the device. */
static int32_t device_start(struct cuda_device *own, trainer_error *error) {
  struct device *device = &own->device;
  cudaError_t code = cudaSetDevice(own->gpu.ordinal);
  if (!code) code = cudaStreamCreateWithFlags(&own->stream, cudaStreamNonBlocking);
  if (code) return cuda_fail(device, code, "opening the GPU", error);
  code = device_code_found();
  if (code == cudaErrorNoKernelImageForDevice) {
    (void)cudaGetLastError();
    return trainer_fail(error, TRAINER_UNSUPPORTED, "this build has no code for sm_%d; build it with TRAINER_CUDA_ARCHS=sm_%d, or make release",
                        own->gpu.capability, own->gpu.capability);
  }
  if (code) return cuda_fail(device, code, "loading the kernels", error);
  char missing[512]; /* isa of device_info says what is missing */
  own->gpu.blas = blas_open(missing, sizeof missing);
  own->gpu.dnn = dnn_open(missing, sizeof missing);
  return TRAINER_OK;
}

int32_t cuda_device_open(uint32_t index, const trainer_device_options *given, uint64_t *handle, trainer_error *error) {
  trainer_device_options options = {0};
  struct cudaDeviceProp properties;
  if (!handle || (given && !TRAINER_READ(options, given)))
    return trainer_fail(error, TRAINER_INVALID, "the options or the result of device_open are missing or too small");
  int32_t status = properties_of(index, &properties, error);
  if (status) return status;
  if (10 * properties.major + properties.minor < CAPABILITY_MIN)
    return trainer_fail(error, TRAINER_UNSUPPORTED, "%.64s has compute capability %d.%d, but 8.0 is needed", properties.name, properties.major,
                        properties.minor);
  struct cuda_device *device = device_create(index, &properties, &options);
  if (!device) return trainer_fail(error, TRAINER_OOM, "no memory for a device");
  status = device_start(device, error);
  uint64_t made = status ? 0 : handle_new(&device->device.object);
  if (made) {
    *handle = made;
    return TRAINER_OK;
  }
  object_release(&device->device.object);
  return status ? status : trainer_fail(error, TRAINER_OOM, "no memory for a handle");
}

int32_t backend_enter(struct device *device, trainer_error *error) {
  struct cuda_device *own = cuda_of(device);
  if (cudaSetDevice(own->gpu.ordinal)) (void)cudaGetLastError(); /* a lost device: its calls say so */
  return atomic_load(&own->lost) ? lost_fail(own, error) : TRAINER_OK;
}
