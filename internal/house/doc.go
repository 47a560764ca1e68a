// Package house holds the rules of the project as tests: who may import whom, that every
// package says what it is for, and which words stand where. It has no code of its own
// to import; what enters is a rule about the whole tree, what does not is a test of one
// package.
package house
