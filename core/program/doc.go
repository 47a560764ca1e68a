// Package program turns a graph of ops into what a backend runs. Each pass is one small
// function on graphs, testable without a device:
//
//	gradient ► precision ► recompute ► lower ► schedule ► memory plan ► encode
//
// What may enter: passes, and the memory plan they end in. What may not: devices
// (core/session runs programs), op semantics (core/op), models and training.
package program
