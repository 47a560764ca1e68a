/* library.c - see library.h. */
#include "library.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Folders of the toolkit and of the packages that pip installs, as glob patterns. %s is
 * the environment's folder. */
static const char *const toolkit_folders[] = {"/usr/local/cuda/lib64", "/usr/local/cuda-1[0-9]*/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", NULL};
static const char *const package_folders[] = {"%s/lib/python3*/site-packages/nvidia/*/lib", "%s/lib/python3*/dist-packages/nvidia/*/lib", "%s/lib", NULL};
static const char *const environments[] = {"VIRTUAL_ENV", "CONDA_PREFIX", NULL};
static const char *const prefixes[] = {"/usr/local", "/usr", NULL};

static void *open_file(const char *path, char *found, uint64_t found_bytes) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library) snprintf(found, found_bytes, "%s", path);
  return library;
}

/* Tries every file that matches folder/name, the folder being a glob pattern. */
static void *open_in(const char *folder, const char *name, char *found, uint64_t found_bytes) {
  char pattern[PATH_MAX];
  glob_t files;
  void *library = NULL;
  if ((size_t)snprintf(pattern, sizeof pattern, "%s/%s", folder, name) >= sizeof pattern) return NULL;
  if (glob(pattern, 0, NULL, &files)) return NULL;
  for (size_t i = 0; i < files.gl_pathc && !library; i++) library = open_file(files.gl_pathv[i], found, found_bytes);
  globfree(&files);
  return library;
}

/* The folders of TRAINER_LIBRARY_PATH. */
static void *open_given(const char *name, char *found, uint64_t found_bytes) {
  const char *at = getenv("TRAINER_LIBRARY_PATH");
  while (at && *at) {
    char folder[PATH_MAX];
    size_t length = strcspn(at, ":");
    if (length > 0 && length < sizeof folder) {
      memcpy(folder, at, length);
      folder[length] = 0;
      void *library = open_in(folder, name, found, found_bytes);
      if (library) return library;
    }
    at += length + (at[length] == ':');
  }
  return NULL;
}

static void *open_packaged(const char *prefix, const char *name, char *found, uint64_t found_bytes) {
  void *library = NULL;
  for (int i = 0; package_folders[i] && !library; i++) {
    char folder[PATH_MAX];
    const char *rest = package_folders[i] + 2; /* behind %s */
    if ((size_t)snprintf(folder, sizeof folder, "%s%s", prefix, rest) < sizeof folder) library = open_in(folder, name, found, found_bytes);
  }
  return library;
}

static void *open_name(const char *name, char *found, uint64_t found_bytes) {
  void *library = open_given(name, found, found_bytes);
  if (!library) library = open_file(name, found, found_bytes);
  for (int i = 0; toolkit_folders[i] && !library; i++) library = open_in(toolkit_folders[i], name, found, found_bytes);
  for (int i = 0; environments[i] && !library; i++)
    if (getenv(environments[i])) library = open_packaged(getenv(environments[i]), name, found, found_bytes);
  for (int i = 0; prefixes[i] && !library; i++) library = open_packaged(prefixes[i], name, found, found_bytes);
  return library;
}

void *library_open(const char *const *names, char *found, uint64_t found_bytes) {
  for (int i = 0; names[i]; i++) {
    void *library = open_name(names[i], found, found_bytes);
    if (library) return library;
  }
  snprintf(found, found_bytes, "%s was not found, neither by the system's loader nor in /usr/local/cuda or a Python environment; TRAINER_LIBRARY_PATH may name its folder", names[0]);
  return NULL;
}
