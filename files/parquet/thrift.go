package parquet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// thriftWalker walks through a struct of Thrift's compact protocol. It holds nothing, and
// refuses sizes that the bytes left cannot hold.
type thriftWalker struct {
	in      *bufio.Reader
	left    int64 // bytes that may be read
	structs int   // elements of lists that are structs
}

// The types of the compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
	thriftUUID   = 13
)

// maxThriftDepth bounds how deep structs nest.
const maxThriftDepth = 16

var errThrift = errors.New("it is no Thrift, or longer than the file")

// structure walks through the fields of a struct and tells visit (which may be nil) every
// number and boolean with the ids of the fields around it.
func (w *thriftWalker) structure(visit func(path []int16, value int64), depth int) error {
	return w.fields(visit, make([]int16, 0, maxThriftDepth), depth)
}

func (w *thriftWalker) fields(visit func([]int16, int64), path []int16, depth int) error {
	if depth > maxThriftDepth {
		return errThrift
	}
	id := int16(0)
	for {
		head, err := w.byte()
		if err != nil || head == 0 {
			return err
		}
		if delta := int16(head >> 4); delta > 0 {
			id += delta
		} else {
			long, err := w.number()
			if err != nil {
				return err
			}
			id = int16(long)
		}
		if err := w.value(head&0x0F, visit, append(path, id), depth); err != nil {
			return err
		}
	}
}

// value walks through the value of a field.
func (w *thriftWalker) value(kind byte, visit func([]int16, int64), path []int16, depth int) error {
	switch kind {
	case thriftTrue, thriftFalse:
		if visit != nil {
			visit(path, int64(thriftFalse-kind))
		}
		return nil
	case thriftByte:
		_, err := w.byte()
		return err
	case thriftI16, thriftI32, thriftI64:
		n, err := w.number()
		if err == nil && visit != nil {
			visit(path, n)
		}
		return err
	case thriftDouble:
		return w.skip(8)
	case thriftUUID:
		return w.skip(16)
	case thriftBinary:
		n, err := w.uvarint()
		if err != nil {
			return err
		}
		return w.skip(n)
	case thriftStruct:
		return w.fields(visit, path, depth+1)
	case thriftList, thriftSet:
		return w.list(path, depth)
	}
	return errThrift // Parquet has no maps
}

// list walks through a list, whose numbers nobody is told.
func (w *thriftWalker) list(path []int16, depth int) error {
	head, err := w.byte()
	if err != nil {
		return err
	}
	n := uint64(head >> 4)
	if n == 15 {
		if n, err = w.uvarint(); err != nil {
			return err
		}
	}
	if n > uint64(w.left) || depth > maxThriftDepth {
		return errThrift
	}
	kind := head & 0x0F
	if kind == thriftStruct {
		w.structs += int(n)
	}
	for range n {
		if kind == thriftTrue || kind == thriftFalse {
			_, err = w.byte()
		} else {
			err = w.value(kind, nil, path, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *thriftWalker) byte() (byte, error) {
	if w.left == 0 {
		return 0, errThrift
	}
	w.left--
	b, err := w.in.ReadByte()
	if err != nil {
		return 0, errThrift
	}
	return b, nil
}

func (w *thriftWalker) skip(n uint64) error {
	if n > uint64(w.left) {
		return errThrift
	}
	w.left -= int64(n)
	if _, err := io.CopyN(io.Discard, w.in, int64(n)); err != nil {
		return errThrift
	}
	return nil
}

// ReadByte lets the walker be read as a stream of varints.
func (w *thriftWalker) ReadByte() (byte, error) { return w.byte() }

func (w *thriftWalker) uvarint() (uint64, error) {
	n, err := binary.ReadUvarint(w)
	if err != nil {
		return 0, errThrift
	}
	return n, nil
}

func (w *thriftWalker) number() (int64, error) {
	n, err := binary.ReadVarint(w)
	if err != nil {
		return 0, errThrift
	}
	return n, nil
}
