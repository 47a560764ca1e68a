/* plugin.c - the two exported symbols: the manifest, and the table of entries. */
#include "backend.h"

TRAINER_EXPORT const char trainer_backend_manifest[] =
    "{\"name\":\"cuda\",\"version\":\"0.1.0\",\"vendor\":\"trainer\","
    "\"description\":\"NVIDIA GPUs from compute capability 8.0 on; cuBLASLt and cuDNN are used where they are found\","
    "\"abi_major\":0,\"abi_minor\":3,\"cpu_features\":[],\"open_seconds\":60}";

/* Absent on purpose: buffer_import (staging memory serves), log_read, get_extension. */
static const trainer_backend_table table = {
    .struct_size = sizeof table,
    BACKEND_ENTRIES,
    .device_count = cuda_device_count,
    .device_info = cuda_device_info,
    .device_open = cuda_device_open,
};

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) {
  return trainer_answer_query(host, reply, &table);
}
