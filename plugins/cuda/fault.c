/* fault.c - what CUDA's errors mean for the host. */
#include "backend.h"

/* Errors after which the context serves no call any more. */
static int is_final(cudaError_t code) {
  switch (code) {
  case cudaErrorIllegalAddress:
  case cudaErrorLaunchTimeout:
  case cudaErrorAssert:
  case cudaErrorHardwareStackError:
  case cudaErrorIllegalInstruction:
  case cudaErrorMisalignedAddress:
  case cudaErrorInvalidAddressSpace:
  case cudaErrorInvalidPc:
  case cudaErrorLaunchFailure:
  case cudaErrorECCUncorrectable:
  case cudaErrorNvlinkUncorrectable:
  case cudaErrorContained:
  case cudaErrorTensorMemoryLeak:
  case cudaErrorExternalDevice:
  case cudaErrorContextIsDestroyed:
  case cudaErrorDevicesUnavailable:
  case cudaErrorUnknown: return 1;
  default: return 0;
  }
}

int32_t cuda_status(struct device *device, cudaError_t code) {
  (void)cudaGetLastError();
  if (code == cudaSuccess) return TRAINER_OK;
  if (code == cudaErrorMemoryAllocation) return TRAINER_OOM;
  if (!is_final(code)) return TRAINER_INTERNAL;
  int alive = cudaSuccess;
  atomic_compare_exchange_strong(&cuda_of(device)->lost, &alive, (int)code);
  return TRAINER_DEVICE_LOST;
}

int32_t lost_fail(const struct cuda_device *device, trainer_error *error) {
  return trainer_fail(error, TRAINER_DEVICE_LOST, "the GPU was lost: %s; the process has to be started again%s",
                      cudaGetErrorString((cudaError_t)atomic_load(&device->lost)),
                      device->step_by_step ? "" : ", with TRAINER_CUDA_SYNC=1 to learn which record did it");
}

int32_t cuda_fail(struct device *device, cudaError_t code, const char *doing, trainer_error *error) {
  int32_t status = cuda_status(device, code);
  if (status == TRAINER_DEVICE_LOST) return lost_fail(cuda_of(device), error);
  return trainer_fail(error, status, "%s: %s", doing, cudaGetErrorString(code));
}
