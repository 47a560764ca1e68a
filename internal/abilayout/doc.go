// Package abilayout measures the layout of a version of the border with the C compiler: sizes
// and offsets of every struct and the value of every constant of its header.
package abilayout
