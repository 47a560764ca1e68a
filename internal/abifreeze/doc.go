// Command abifreeze keeps the current minor of the border for ever: its header, its layout, and
// a backend compiled against it, under core/abi/frozen/MAJOR.MINOR. A minor that is kept with
// another layout is not touched: a change of the layout is a new minor.
//
//	make abi-freeze
package main
