// Package session runs programs on one device: it decides where states live, keeps one
// arena for the transients of all programs, uploads inputs through a ring of staging
// memory and reads outputs back.
//
// Use: Open; Place the states; Compile every program that may occur; read Memory for the
// exact plan; Allocate; Write the weights; Run. A Session belongs to one goroutine.
//
// What may enter: what joins core/program and core/plugin. What may not: models,
// training, choice of backends.
package session
