// Package abi is the border between trainer and a native backend: the C header
// trainer_backend.h and its Go mirror, side by side. Only layouts, ids and the
// encoding of records enter; no calls (core/plugin) and no meaning beyond what the
// header says (core/op). A test compiles a probe with the C compiler and compares
// every size, offset, constant and id.
package abi
