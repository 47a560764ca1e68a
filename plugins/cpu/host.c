/* host.c - what the machine is: processor and memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__)
#include <sched.h>
#endif

#include "backend.h"

/* The value behind "key...: " in a file of such lines; 0 if there is none. */
static int file_value(const char *path, const char *key, char *value, size_t bytes) {
  char line[512];
  int found = 0;
  FILE *file = fopen(path, "re");
  if (!file) return 0;
  while (!found && fgets(line, sizeof line, file)) {
    char *colon = strchr(line, ':');
    if (!colon || strncmp(line, key, strlen(key)) != 0) continue;
    colon += 1 + strspn(colon + 1, " \t");
    colon[strcspn(colon, "\n")] = 0;
    snprintf(value, bytes, "%.*s", (int)bytes - 1, colon);
    found = 1;
  }
  fclose(file);
  return found;
}

void host_cpu_name(char *name, uint64_t bytes) {
  if (!file_value("/proc/cpuinfo", "model name", name, bytes) && !file_value("/proc/cpuinfo", "Model", name, bytes))
    snprintf(name, bytes, "CPU");
}

/* A file that holds one number of bytes; UINT64_MAX if absent or "max". */
static uint64_t file_bytes(const char *path) {
  unsigned long long value = 0;
  FILE *file = fopen(path, "re");
  if (!file) return UINT64_MAX;
  int got = fscanf(file, "%llu", &value);
  fclose(file);
  return got == 1 ? value : UINT64_MAX;
}

struct group {
  uint64_t limit;
  uint64_t left;
};

static void group_add(struct group *group, uint64_t limit, uint64_t used) {
  if (limit < group->limit) group->limit = limit;
  if (limit == UINT64_MAX || used == UINT64_MAX) return;
  uint64_t left = used < limit ? limit - used : 0;
  if (left < group->left) group->left = left;
}

/* The smallest limit of our control group and of those above it, and what is left. */
static struct group group_memory(void) {
  struct group group = {UINT64_MAX, UINT64_MAX};
  char name[400] = "", max[512], used[512];
  if (!file_value("/proc/self/cgroup", "0:", name, sizeof name)) name[0] = 0;
  char *path = strchr(name, '/');
  if (!path) path = name + strlen(name);
  for (char *cut = path; cut; *cut = 0) {
    snprintf(max, sizeof max, "/sys/fs/cgroup%s/memory.max", path);
    snprintf(used, sizeof used, "/sys/fs/cgroup%s/memory.current", path);
    group_add(&group, file_bytes(max), file_bytes(used));
    cut = strrchr(path, '/');
    if (!cut) break;
  }
  group_add(&group, file_bytes("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
            file_bytes("/sys/fs/cgroup/memory/memory.usage_in_bytes"));
  return group;
}

static uint64_t physical(void) {
  long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

uint64_t host_memory_total(void) {
  uint64_t total = physical(), limit = group_memory().limit;
  return limit < total ? limit : total;
}

uint64_t host_memory_free(void) {
  uint64_t available = physical(), left = group_memory().left;
  char value[64];
  if (file_value("/proc/meminfo", "MemAvailable", value, sizeof value)) available = strtoull(value, NULL, 10) * 1024;
  return left < available ? left : available;
}

uint32_t host_threads(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return (uint32_t)CPU_COUNT(&set);
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (uint32_t)online : 1;
}

enum isa host_isa(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) return ISA_AVX512BF16;
  return avx512 ? ISA_AVX512 : avx2 ? ISA_AVX2 : ISA_SCALAR;
#elif defined(__aarch64__)
  return ISA_NEON;
#else
  return ISA_SCALAR;
#endif
}

const char *isa_name(enum isa isa) {
  static const char *const names[] = {"scalar", "avx2", "avx512", "avx512bf16", "neon"};
  return names[isa];
}

/* What to use of what the processor has. Intel's vdpbf16ps ran a quarter as often as an f32
 * FMA on Emerald Rapids, hence at half the products, so pairs of bf16 are only taken there
 * on request. On AMD they are taken; that choice has not been measured. */
static enum isa preferred_isa(enum isa has) {
#if defined(__x86_64__)
  if (has == ISA_AVX512BF16 && !__builtin_cpu_is("amd")) return ISA_AVX512;
#endif
  return has;
}

int host_choose_isa(enum isa *isa) {
  const char *wish = getenv("TRAINER_CPU_ISA");
  *isa = host_isa();
  if (!wish || !*wish) {
    *isa = preferred_isa(*isa);
    return 1;
  }
  for (int i = ISA_SCALAR; i <= ISA_NEON; i++) {
    if (strcmp(wish, isa_name((enum isa)i)) != 0) continue;
    if (i > (int)*isa || (i != ISA_SCALAR && (i == ISA_NEON) != (*isa == ISA_NEON))) return 0;
    *isa = (enum isa)i;
    return 1;
  }
  return 0;
}
