/* plugin.c - the two exported symbols: the manifest, and the table of entries. */
#include "backend.h"

TRAINER_EXPORT const char trainer_backend_manifest[] =
    "{\"name\":\"cuda\",\"version\":\"0.1.0\",\"vendor\":\"trainer\","
    "\"description\":\"NVIDIA GPUs from compute capability 8.0 on; cuBLASLt and cuDNN are used where they are found\","
    "\"abi_major\":0,\"abi_minor\":2,\"cpu_features\":[],\"open_seconds\":60}";

/* Absent on purpose: buffer_import (staging memory serves), log_read, get_extension. */
static const trainer_backend_table table = {
    .struct_size = sizeof table,
    .shutdown = cuda_shutdown,
    .device_count = cuda_device_count,
    .device_info = cuda_device_info,
    .device_open = cuda_device_open,
    .device_close = cuda_device_close,
    .query_ops = cuda_query_ops,
    .buffer_alloc = cuda_buffer_alloc,
    .buffer_free = cuda_buffer_free,
    .queue_create = cuda_queue_create,
    .queue_destroy = cuda_queue_destroy,
    .list_check = cuda_list_check,
    .submit = cuda_submit,
    .timeline_create = timeline_create,
    .timeline_destroy = timeline_destroy,
    .timeline_read = timeline_read,
    .timeline_wait = timeline_wait,
    .device_stats = cuda_device_stats,
    .plan_create = cuda_plan_create,
    .plan_destroy = cuda_plan_destroy,
    .queue_progress = cuda_queue_progress,
};

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) {
  return trainer_answer_query(host, reply, &table);
}
