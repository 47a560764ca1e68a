/* program.h - a checked list, made ready to run. A plan is a program with a handle; a
 * submitted list is one without. */
#ifndef TRAINER_NATIVE_PROGRAM_H
#define TRAINER_NATIVE_PROGRAM_H

#include <pthread.h>

#include "resolve.h"

#define LIST_BYTES_MAX ((uint64_t)1 << 30)

struct program {
  struct object object;
  struct resolved list;
  void *params;             /* what operands in TRAINER_SLOT_PARAMS address; NULL: none */
  uint64_t workspace_bytes; /* the most any record needs */
  uint64_t bytes;           /* of the device's memory, that a plan of it takes */
  uint64_t counted;         /* of bytes, those in the device's meter: none, or a plan's all */
  pthread_mutex_t run_lock; /* one queue at a time runs it */
};

/* Copies, checks and resolves a list up to addresses. bad_record may be NULL. */
int32_t program_create(struct device *device, const trainer_list *list, struct program **program, uint32_t *bad_record, trainer_error *error);
/* Gives the views their addresses. Once. */
int32_t program_bind(struct program *program, const trainer_binding *bindings, uint32_t count, const trainer_binding *workspace, trainer_error *error);

/* Entries of the border. */
int32_t list_check(uint64_t device, const trainer_list *list, trainer_list_report *report, trainer_error *error);
int32_t plan_create(uint64_t device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error);
int32_t plan_destroy(uint64_t device, uint64_t plan, trainer_error *error);

#endif
