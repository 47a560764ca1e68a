/* list.h - walks a trainer_list and believes nothing it says: every size, index, view
 * and slot is checked against the bytes of the list before it is used. */
#ifndef TRAINER_NATIVE_LIST_H
#define TRAINER_NATIVE_LIST_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../core/abi/trainer_backend.h"

/* A walk over a list that is complete in memory and does not change meanwhile. */
struct list_walk {
  const uint8_t *base;
  uint64_t bytes;
  uint64_t offset; /* of the next record */
  uint32_t index;  /* of the next record */
  trainer_list head;
  char *text; /* why a check failed: one sentence */
  uint64_t text_bytes;
};

/* One record, its parts inside the list. */
struct list_record {
  const trainer_record *head;
  const trainer_operand *operands; /* outputs first */
  const void *attr;
  const uint32_t *after;
  uint32_t n_operands;
};

/* Bytes of an element; 0 for an unknown dtype. */
static inline uint32_t list_dtype_bytes(uint32_t dtype) {
  switch (dtype) {
  case TRAINER_F64:
  case TRAINER_I64: return 8;
  case TRAINER_F32:
  case TRAINER_I32: return 4;
  case TRAINER_BF16:
  case TRAINER_F16: return 2;
  case TRAINER_F8E4M3:
  case TRAINER_F8E5M2:
  case TRAINER_U8:
  case TRAINER_I8: return 1;
  default: return 0;
  }
}

static inline int32_t list_bad(const struct list_walk *walk, int32_t status, const char *sentence) {
  snprintf(walk->text, walk->text_bytes, "%s", sentence);
  return status;
}

/* Begins a walk over `bytes` readable bytes at list. */
static inline int32_t list_open(struct list_walk *walk, const void *list, uint64_t bytes, char *text, uint64_t text_bytes) {
  memset(walk, 0, sizeof *walk);
  walk->base = (const uint8_t *)list;
  walk->text = text;
  walk->text_bytes = text_bytes;
  if (!list || (uintptr_t)list % 8 != 0) return list_bad(walk, TRAINER_INVALID, "the list is missing or not aligned to 8 bytes");
  if (bytes < sizeof walk->head) return list_bad(walk, TRAINER_INVALID, "the list is shorter than its header");
  memcpy(&walk->head, list, sizeof walk->head);
  const trainer_list *head = &walk->head;
  if (head->magic != TRAINER_LIST_MAGIC) return list_bad(walk, TRAINER_INVALID, "the list does not begin with its magic number");
  if (head->abi_major != TRAINER_ABI_MAJOR || head->abi_minor > TRAINER_ABI_MINOR)
    return list_bad(walk, TRAINER_UNSUPPORTED, "the list is of a newer ABI version");
  if (head->struct_size < sizeof *head || head->struct_size % 8 != 0 || head->struct_size > head->bytes)
    return list_bad(walk, TRAINER_INVALID, "struct_size of the list is wrong");
  if (head->bytes > bytes || head->bytes % 8 != 0) return list_bad(walk, TRAINER_INVALID, "bytes of the list is wrong");
  walk->bytes = head->bytes;
  walk->offset = head->struct_size;
  return TRAINER_OK;
}

/* Elements from the first to behind the last one of a view; -1 if it does not fit 62 bits. */
static inline int64_t list_extent(const trainer_operand *operand) {
  const int64_t limit = (int64_t)1 << 58;
  int64_t count = 1, last = 0;
  for (uint32_t dim = 0; dim < operand->rank; dim++) {
    int64_t n = operand->shape[dim], stride = operand->stride[dim], step;
    if (n < 0 || stride < 0 || __builtin_mul_overflow(count, n, &count) || count > limit) return -1;
    if (n == 0) continue;
    if (__builtin_mul_overflow(n - 1, stride, &step) || __builtin_add_overflow(last, step, &last) || last > limit) return -1;
  }
  return count == 0 ? 0 : last + 1;
}

static inline int32_t list_check_place(const struct list_walk *walk, const trainer_operand *operand, int output) {
  if (operand->bytes > UINT64_MAX - operand->offset) return list_bad(walk, TRAINER_INVALID, "an operand ends beyond 64 bits");
  if (operand->slot == TRAINER_SLOT_PARAMS) {
    if (output) return list_bad(walk, TRAINER_INVALID, "an output lies in the params block");
    if (operand->offset + operand->bytes > walk->head.params_bytes)
      return list_bad(walk, TRAINER_INVALID, "an operand lies outside the params block");
  } else if (operand->slot >= walk->head.slot_count) {
    return list_bad(walk, TRAINER_INVALID, "an operand names a slot the list does not have");
  }
  return TRAINER_OK;
}

static inline int32_t list_check_bound(const struct list_walk *walk, const struct list_record *record, const trainer_operand *operand) {
  if (operand->bound_by == 0) return TRAINER_OK;
  if (operand->bound_by > record->n_operands || operand->bound_dim >= operand->rank)
    return list_bad(walk, TRAINER_INVALID, "an operand is bound by an operand or in a dimension that does not exist");
  const trainer_operand *by = &record->operands[operand->bound_by - 1];
  if (by == operand || by->slot == TRAINER_SLOT_NONE || by->dtype != TRAINER_I32 || by->bound_by != 0 ||
      by->rank > TRAINER_MAX_RANK || list_extent(by) != 1)
    return list_bad(walk, TRAINER_INVALID, "an operand is bound by something that is not one i32");
  return TRAINER_OK;
}

static inline int32_t list_check_operand(const struct list_walk *walk, const struct list_record *record, uint32_t index) {
  const trainer_operand *operand = &record->operands[index];
  int output = index < record->head->n_outputs;
  if (operand->slot == TRAINER_SLOT_NONE) return TRAINER_OK;
  uint32_t element = list_dtype_bytes(operand->dtype);
  if (element == 0) return list_bad(walk, TRAINER_UNSUPPORTED, "an operand has an unknown dtype");
  if (operand->rank > TRAINER_MAX_RANK || operand->kind > TRAINER_KIND_STATE)
    return list_bad(walk, TRAINER_INVALID, "an operand has a rank above 6 or an unknown kind");
  int64_t extent = list_extent(operand);
  if (extent < 0) return list_bad(walk, TRAINER_INVALID, "an operand has a negative or too large shape or stride");
  if ((uint64_t)extent * element > operand->bytes) return list_bad(walk, TRAINER_INVALID, "an operand's view is larger than its bytes");
  if (operand->offset % element != 0) return list_bad(walk, TRAINER_INVALID, "an operand's offset is not aligned to its elements");
  for (uint32_t dim = 0; output && extent > 0 && dim < operand->rank; dim++)
    if (operand->shape[dim] > 1 && operand->stride[dim] == 0) return list_bad(walk, TRAINER_INVALID, "an output is broadcast");
  int32_t status = list_check_place(walk, operand, output);
  return status ? status : list_check_bound(walk, record, operand);
}

/* Lays out the parts of the record at walk->offset without looking into them. */
static inline int32_t list_split(const struct list_walk *walk, struct list_record *record) {
  uint64_t left = walk->bytes - walk->offset;
  if (left < sizeof(trainer_record)) return list_bad(walk, TRAINER_INVALID, "the list ends inside a record");
  const uint8_t *at = walk->base + walk->offset;
  const trainer_record *head = (const trainer_record *)(const void *)at;
  uint32_t n = (uint32_t)head->n_outputs + head->n_inputs;
  uint64_t operands = (uint64_t)n * sizeof(trainer_operand);
  uint64_t after = ((uint64_t)head->n_after * sizeof(uint32_t) + 7) / 8 * 8;
  if (head->attr_bytes % 8 != 0) return list_bad(walk, TRAINER_INVALID, "attr_bytes is not a multiple of 8");
  if (head->size > left || head->size != sizeof *head + operands + head->attr_bytes + after)
    return list_bad(walk, TRAINER_INVALID, "the size of the record is not that of its parts");
  record->head = head;
  record->n_operands = n;
  record->operands = (const trainer_operand *)(const void *)(at + sizeof *head);
  record->attr = at + sizeof *head + operands;
  record->after = (const uint32_t *)(const void *)(at + sizeof *head + operands + head->attr_bytes);
  return TRAINER_OK;
}

/* Gives the next record, fully checked; *more is 0 at the end of the list. */
static inline int32_t list_next(struct list_walk *walk, struct list_record *record, int *more) {
  *more = walk->index < walk->head.record_count;
  if (!*more) {
    if (walk->offset != walk->bytes) return list_bad(walk, TRAINER_INVALID, "the list has bytes behind its last record");
    return TRAINER_OK;
  }
  int32_t status = list_split(walk, record);
  if (status) return status;
  if (record->head->flags != 0 || record->head->version > 1)
    return list_bad(walk, TRAINER_UNSUPPORTED, "the record has flags or a version from a newer ABI");
  for (uint32_t i = 0; i < record->n_operands; i++) {
    status = list_check_operand(walk, record, i);
    if (status) return status;
  }
  for (uint32_t i = 0; i < record->head->n_after; i++)
    if (record->after[i] >= walk->index) return list_bad(walk, TRAINER_INVALID, "the record comes after one that is not earlier");
  walk->offset += record->head->size;
  walk->index++;
  return TRAINER_OK;
}

#endif
