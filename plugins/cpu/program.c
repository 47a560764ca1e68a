/* program.c - programs are resolved to kernel calls on addresses. Running one allocates
 * nothing. */
#include <stdlib.h>

#include "backend.h"

struct program_call {
  const struct kernel *kernel;
  struct call call; /* pool and workspace are set when it runs */
};

struct cpu_program {
  struct program program;
  struct program_call *calls; /* one a record */
};

struct program *backend_program_new(void) { return calloc(1, sizeof(struct cpu_program)); }

int backend_program_open(struct program *program) {
  struct cpu_program *own = (struct cpu_program *)program;
  uint64_t calls = program->list.record_count ? program->list.record_count : 1;
  own->calls = calloc(calls, sizeof *own->calls);
  program->bytes = sizeof *own + program->list.bytes + calls * sizeof *own->calls + program->list.params_bytes;
  return own->calls != NULL;
}

int32_t backend_record_open(struct program *program, uint32_t index, char *text, uint64_t text_bytes) {
  struct cpu_device *device = (struct cpu_device *)program->object.device;
  struct program_call *made = &((struct cpu_program *)program)->calls[index];
  struct record *record = &program->list.records[index];
  made->kernel = kernel_of(record->op);
  if (!made->kernel) {
    snprintf(text, text_bytes, "there is no op 0x%x", (unsigned)record->op);
    return TRAINER_UNSUPPORTED;
  }
  record->name = made->kernel->name;
  made->call = (struct call){
      .out = record->out,
      .in = record->in,
      .n_out = record->n_out,
      .n_in = record->n_in,
      .attr = record->attr,
      .attr_bytes = record->attr_bytes,
      .isa = device->isa,
      .pool = device->pool,
  };
  int32_t status = made->kernel->check(record, text, text_bytes);
  if (status || !made->kernel->workspace) return status;
  uint64_t workspace = made->kernel->workspace(&made->call, pool_threads(device->pool));
  if (workspace > program->workspace_bytes) program->workspace_bytes = workspace;
  return TRAINER_OK;
}

void *backend_params_new(struct program *program) { return calloc(1, program->list.params_bytes); }

int32_t backend_plan_open(struct program *program, trainer_error *error) {
  (void)program, (void)error; /* a bound program is all that a run needs */
  return TRAINER_OK;
}

void backend_program_close(struct program *program) {
  free(((struct cpu_program *)program)->calls);
  free(program->params);
}

void program_run(const struct job *job, struct pool *pool) {
  struct program *program = job->program;
  struct program_call *calls = ((struct cpu_program *)program)->calls;
  pthread_mutex_lock(&program->run_lock);
  if (program->list.params_bytes) memcpy(program->params, job->params, program->list.params_bytes);
  job_mark(job, 0);
  for (uint32_t i = 0; i < program->list.record_count; i++) {
    struct call *call = &calls[i].call;
    record_apply_bounds(&program->list.records[i]);
    call->pool = pool;
    call->workspace = program->list.workspace;
    call->workspace_bytes = program->list.workspace_bytes;
    calls[i].kernel->run(call);
    job_mark(job, i + 1);
    progress_add(&job->queue->progress, 1);
  }
  pthread_mutex_unlock(&program->run_lock);
}
