/* queue.h - a queue is a ring of jobs and one or two threads, its stages, through which each
 * job goes in order. */
#ifndef TRAINER_NATIVE_QUEUE_H
#define TRAINER_NATIVE_QUEUE_H

#include "program.h"
#include "progress.h"

#define QUEUE_JOBS 64u
#define QUEUE_STAGES 2u

/* A submit, in its place in the ring. The place has room for the usual job, grows to the
 * largest so far and keeps that: a step allocates nothing. */
struct job {
  struct queue *queue;
  struct program *program; /* referenced */
  void *params;            /* part of the queue's, or large */
  void *large;             /* what was allocated for params beyond the usual */
  uint64_t params_room;
  struct point *points; /* waits, then signals */
  uint32_t points_room;
  uint32_t wait_count;
  uint32_t signal_count;
  struct failure failure; /* why it did not run; the first reason */
};

/* What a thread does to every job, when the stage before it is through with it. */
struct stage {
  struct queue *queue;
  pthread_t thread;
  void (*work)(struct job *job);
  uint64_t passed; /* jobs it is through with */
};

struct queue {
  struct object object;
  struct progress progress;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  _Atomic uint32_t stopping;
  uint64_t submitted; /* jobs ever given */
  uint32_t stage_count;
  uint32_t running; /* stages whose thread was started */
  struct stage stages[QUEUE_STAGES];
  /* Has the device wait for an announced job of another queue, for a backend that announces. */
  int32_t (*follow)(struct queue *queue, const struct job *before);
  void *params; /* for the usual job's, of all jobs */
  struct job ring[QUEUE_JOBS];
};

/* ---- for the backend's stages ---- */

void queue_add_stage(struct queue *queue, void (*work)(struct job *job));
/* The place of the job in the ring. */
static inline uint32_t job_index(const struct job *job) { return (uint32_t)(job - job->queue->ring); }
/* First of all: returns when what the job waits for is reached, or the device has been made
 * to wait for it. Not OK: the job must not run, as its failure says. */
int32_t job_wait(struct job *job);
/* Lets other queues go on: the job is with the device, which will reach its signals. */
void job_announce(struct job *job);
/* Last of all: moves the signalled timelines, or fails them where the job failed, and drops
 * what the job refers to. */
void job_settle(struct job *job);

/* ---- for the rest ---- */

/* Cancels what has not begun, waits for what has, ends the threads. Once per queue. */
void queue_stop(struct queue *queue);

/* Entries of the border. */
int32_t queue_create(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *error);
int32_t queue_destroy(uint64_t device, uint64_t queue, trainer_error *error);
int32_t queue_progress(uint64_t device, uint64_t queue, uint64_t *counter, trainer_error *error);
int32_t queue_submit(uint64_t device, uint64_t queue, const trainer_submit *submit, trainer_error *error);

#endif
