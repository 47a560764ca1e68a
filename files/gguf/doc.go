// Package gguf writes and reads GGUF files, version 3, little-endian: what llama.cpp and
// its kin run. It knows metadata, tensors and how their numbers are stored; what they mean
// belongs to the models.
package gguf
