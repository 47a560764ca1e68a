/* dnn.c - finds cuDNN and opens it.
 *
 * A machine may have several: of the system, of a CUDA toolkit, in Python environments. The
 * newest is wanted, but its version must be known before it is loaded, since two versions
 * do not fit into one process; it stands in the file's name or in the header beside it. */
#include "dnn_api.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libcudnn.so.9"
#define OLDEST 91002 /* before it: wrong results with masks */
#define CANDIDATES 64

struct candidate {
  char path[512];
  int64_t version; /* 0: not known */
};

struct search {
  struct candidate found[CANDIDATES];
  int count;
};

/* ---- what version a file is ---- */

/* libcudnn.so.9.14.0, behind links. */
static int64_t version_of_name(const char *path) {
  char real[PATH_MAX];
  int minor, patch;
  const char *at;
  if (!realpath(path, real)) return 0;
  at = strstr(real, LIBRARY ".");
  return at && sscanf(at + strlen(LIBRARY), ".%d.%d", &minor, &patch) == 2 ? 90000 + 100 * minor + patch : 0;
}

/* The number behind a #define of a header's text; -1 without it. */
static int defined_number(const char *text, const char *name) {
  const char *at = strstr(text, name);
  return at ? atoi(at + strlen(name)) : -1;
}

/* A wheel has the library without its version in nvidia/cudnn/lib and headers in
 * nvidia/cudnn/include. */
static int64_t version_of_header(const char *path) {
  char name[600], text[8192];
  const char *slash = strrchr(path, '/');
  if (!slash) return 0;
  snprintf(name, sizeof name, "%.*s/../include/cudnn_version.h", (int)(slash - path), path);
  FILE *file = fopen(name, "r");
  if (!file) return 0;
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  int minor = defined_number(text, "#define CUDNN_MINOR "), patch = defined_number(text, "#define CUDNN_PATCHLEVEL ");
  return minor >= 0 && patch >= 0 && defined_number(text, "#define CUDNN_MAJOR ") == 9 ? 90000 + 100 * minor + patch : 0;
}

/* ---- where files are ---- */

static void add_path(struct search *search, const char *path) {
  if (search->count == CANDIDATES || strlen(path) >= sizeof search->found[0].path) return;
  struct candidate *candidate = &search->found[search->count++];
  strcpy(candidate->path, path);
  candidate->version = version_of_name(path);
  if (!candidate->version) candidate->version = version_of_header(path);
}

/* folder may hold wildcards. */
static void add_folder(struct search *search, const char *folder) {
  char pattern[PATH_MAX];
  glob_t matches;
  if (!folder[0] || (size_t)snprintf(pattern, sizeof pattern, "%s/" LIBRARY, folder) >= sizeof pattern) return;
  if (glob(pattern, GLOB_NOSORT, NULL, &matches)) return;
  for (size_t i = 0; i < matches.gl_pathc; i++) add_path(search, matches.gl_pathv[i]);
  globfree(&matches);
}

/* What pip installs under a prefix such as /usr, a virtual environment or ~/.local. */
static void add_python(struct search *search, const char *prefix) {
  char folder[PATH_MAX];
  if ((size_t)snprintf(folder, sizeof folder, "%s/lib/python3*/*-packages/nvidia/cudnn/lib", prefix) < sizeof folder) add_folder(search, folder);
}

/* Calls add for each part of a list with ':' between them. */
static void each_part(struct search *search, const char *list, void (*add)(struct search *search, const char *part)) {
  char part[PATH_MAX];
  while (list && *list) {
    size_t length = strcspn(list, ":");
    if (length < sizeof part) {
      memcpy(part, list, length);
      part[length] = 0;
      add(search, part);
    }
    list += length + (list[length] == ':');
  }
}

/* The environment of the python3 that a folder of PATH holds. */
static void add_python_of(struct search *search, const char *bin) {
  char program[PATH_MAX], prefix[PATH_MAX];
  const char *slash = strrchr(bin, '/');
  if (!slash || (size_t)snprintf(program, sizeof program, "%s/python3", bin) >= sizeof program || access(program, X_OK)) return;
  if ((size_t)snprintf(prefix, sizeof prefix, "%.*s", (int)(slash - bin), bin) < sizeof prefix) add_python(search, prefix);
}

static void search_machine(struct search *search) {
  static const char *const system_folders[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/cuda/lib64", "/usr/local/lib", "/usr/lib"};
  char local[PATH_MAX];
  const char *home = getenv("HOME");
  each_part(search, getenv("LD_LIBRARY_PATH"), add_folder);
  if (getenv("VIRTUAL_ENV")) add_python(search, getenv("VIRTUAL_ENV"));
  if (getenv("CONDA_PREFIX")) add_python(search, getenv("CONDA_PREFIX"));
  each_part(search, getenv("PATH"), add_python_of);
  if (home && (size_t)snprintf(local, sizeof local, "%s/.local", home) < sizeof local) add_python(search, local);
  add_python(search, "/usr/local");
  add_python(search, "/usr");
  for (size_t i = 0; i < sizeof system_folders / sizeof *system_folders; i++) add_folder(search, system_folders[i]);
}

static int newer_first(const void *a, const void *b) {
  int64_t x = ((const struct candidate *)a)->version, y = ((const struct candidate *)b)->version;
  return (x < y) - (x > y);
}

/* ---- opening ---- */

/* Opens every file that matches, so that the loader knows it by its plain name. */
static void open_matching(const char *pattern) {
  glob_t matches;
  if (glob(pattern, 0, NULL, &matches)) return;
  for (size_t i = 0; i < matches.gl_pathc; i++) dlopen(matches.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
  globfree(&matches);
}

/* cuDNN loads these by plain names, under which a Python environment's are not found. */
static void open_helpers(const char *path) {
  static const char *const names[] = {"libcublasLt.so.1[23]", "libnvrtc-builtins.so.1[23]*", "libnvrtc.so.1[23]"};
  static const char *const folders[] = {"../../cu13/lib", "../../cublas/lib", "../../cuda_nvrtc/lib"};
  const char *slash = strrchr(path, '/');
  char pattern[1024];
  if (!slash) return;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (size_t k = 0; k < sizeof folders / sizeof *folders; k++) {
      snprintf(pattern, sizeof pattern, "%.*s/%s/%s", (int)(slash - path), path, folders[k], names[i]);
      open_matching(pattern);
    }
}

/* Without cuBLASLt of its CUDA version, cuDNN ends the process when it is first used. */
static int has_cublas(const struct dnn *dnn, char *text, uint64_t text_bytes) {
  char name[32];
  snprintf(name, sizeof name, "libcublasLt.so.%d", (int)(dnn->get_cudart_version() / 1000));
  if (dlopen(name, RTLD_NOW | RTLD_LOCAL)) return 1;
  snprintf(text, text_bytes, "%s is of no use without %s", dnn->path, name);
  return 0;
}

static int load_functions(struct dnn *dnn) {
  const struct {
    const char *name;
    void *function;
  } functions[] = {
      {"cudnnGetVersion", &dnn->get_version},
      {"cudnnGetCudartVersion", &dnn->get_cudart_version},
      {"cudnnCreate", &dnn->create},
      {"cudnnDestroy", &dnn->destroy},
      {"cudnnSetStream", &dnn->set_stream},
      {"cudnnGetErrorString", &dnn->error_string},
      {"cudnnBackendCreateDescriptor", &dnn->create_descriptor},
      {"cudnnBackendDestroyDescriptor", &dnn->destroy_descriptor},
      {"cudnnBackendFinalize", &dnn->finalize},
      {"cudnnBackendSetAttribute", &dnn->set_attribute},
      {"cudnnBackendGetAttribute", &dnn->get_attribute},
      {"cudnnBackendExecute", &dnn->execute},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *address = dlsym(dnn->library, functions[i].name);
    if (!address) return 0;
    memcpy(functions[i].function, &address, sizeof address);
  }
  return 1;
}

/* Opens the library at path into dnn; 0 and a sentence if it is of no use. */
static int open_path(struct dnn *dnn, const char *path, char *text, uint64_t text_bytes) {
  int status;
  open_helpers(path);
  dnn->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!dnn->library) {
    snprintf(text, text_bytes, "cuDNN is not there: %s", dlerror());
    return 0;
  }
  snprintf(dnn->path, sizeof dnn->path, "%s", path);
  if (!load_functions(dnn)) {
    snprintf(text, text_bytes, "%s lacks functions of cuDNN's backend API", path);
  } else if ((dnn->version = (int64_t)dnn->get_version()) < OLDEST) {
    snprintf(text, text_bytes, "%s is older than version 9.10.2", path);
  } else if (!has_cublas(dnn, text, text_bytes)) {
    /* text says it */
  } else if ((status = dnn->create(&dnn->handle)) != DNN_SUCCESS) {
    snprintf(text, text_bytes, "%s cannot be used on this device: %s", path, dnn->error_string(status));
  } else {
    return 1;
  }
  dlclose(dnn->library);
  return 0;
}

static int open_best(struct dnn *dnn, struct search *search, char *text, uint64_t text_bytes) {
  qsort(search->found, (size_t)search->count, sizeof *search->found, newer_first);
  for (int i = 0; i < search->count; i++)
    if (open_path(dnn, search->found[i].path, text, text_bytes)) return 1;
  return 0;
}

struct dnn *dnn_open(char *text, uint64_t text_bytes) {
  struct dnn *dnn = calloc(1, sizeof *dnn);
  struct search *search = calloc(1, sizeof *search);
  int opened = 0;
  if (dnn && search) {
    each_part(search, getenv("TRAINER_LIBRARY_PATH"), add_folder);
    opened = open_best(dnn, search, text, text_bytes);
    if (search->count == 0) {
      search_machine(search);
      if (search->count == 0) add_path(search, LIBRARY); /* the loader may know more */
      opened = open_best(dnn, search, text, text_bytes);
    }
  } else {
    snprintf(text, text_bytes, "out of host memory");
  }
  free(search);
  if (opened) {
    pthread_mutex_init(&dnn->lock, NULL);
    return dnn;
  }
  free(dnn);
  return NULL;
}

/* The version a library that is loaded says it has. */
static int64_t version_of_library(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  size_t (*version)(void) = NULL;
  if (library) *(void **)&version = dlsym(library, "cudnnGetVersion");
  return version ? (int64_t)version() : 0; /* it stays loaded: dnn_open will want it */
}

int64_t dnn_version(void) {
  struct search *search = calloc(1, sizeof *search);
  int64_t version = 0;
  if (!search) return 0;
  each_part(search, getenv("TRAINER_LIBRARY_PATH"), add_folder);
  if (search->count == 0) search_machine(search);
  qsort(search->found, (size_t)search->count, sizeof *search->found, newer_first);
  if (search->count > 0) version = search->found[0].version;
  if (version == 0) version = version_of_library(search->count > 0 ? search->found[0].path : LIBRARY);
  free(search);
  return version >= OLDEST ? version : 0;
}

void dnn_close(struct dnn *dnn) {
  if (!dnn) return;
  dnn->destroy(dnn->handle);
  pthread_mutex_destroy(&dnn->lock);
  free(dnn); /* the library stays: unloading it is not safe while the driver lives */
}

void dnn_describe(const struct dnn *dnn, char *text, uint64_t text_bytes) {
  snprintf(text, text_bytes, "cuDNN %d.%d.%d, %s", (int)(dnn->version / 10000), (int)(dnn->version / 100 % 100), (int)(dnn->version % 100), dnn->path);
}
