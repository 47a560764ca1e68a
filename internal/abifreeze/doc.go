// Command abifreeze keeps the current minor of the border for ever: its header, its layout, and
// a backend compiled against it, under core/abi/frozen/MAJOR.MINOR. A minor that is kept is
// not touched: with another layout it is an error, because a change of the layout is a new minor.
//
//	make abi-freeze
package main
