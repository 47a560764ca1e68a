/* plugin.c - the two exported symbols: the manifest, and the table of entries. */
#include "backend.h"

TRAINER_EXPORT const char trainer_backend_manifest[] =
    "{\"name\":\"cpu\",\"version\":\"0.1.0\",\"vendor\":\"trainer\","
    "\"description\":\"Any processor: scalar, AVX2, AVX-512, AVX-512-BF16 and NEON, chosen at run time\","
    "\"abi_major\":0,\"abi_minor\":3,\"cpu_features\":[],\"open_seconds\":10}";

/* Absent on purpose: buffer_import (staging memory serves), log_read, get_extension. */
static const trainer_backend_table table = {
    .struct_size = sizeof table,
    BACKEND_ENTRIES,
    .device_count = cpu_device_count,
    .device_info = cpu_device_info,
    .device_open = cpu_device_open,
};

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) {
  return trainer_answer_query(host, reply, &table);
}
